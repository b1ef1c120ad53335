internal import Glibc
internal import KDNCore
internal import KDNTier
internal import KDNTransport

/// Limits of the disk tier's settings.
private enum DiskLimits {
  /// From so small that tests fill it to so large that reclaiming one takes seconds.
  static let segmentBytes = 64 << 10...4 << 30
  /// Segments that a directory holds at least.
  static let segmentsMin = 4
}

/// Reads settings into their types and gathers every fault on the way.
struct SettingParser {
  private let sources: SettingSources
  /// What went wrong so far.
  private(set) var faults: [FieldFault] = []
  /// What each key read so far holds.
  private(set) var effective: [(setting: Setting, value: SettingValue)] = []

  init(sources: SettingSources) {
    self.sources = sources
  }

  /// One loop per core, at most 8: beyond that the kernel's copies, not the loops, are the limit.
  static var defaultLoopCount: Int { min(8, max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))) }

  mutating func texts(_ key: String) -> [String] {
    guard let setting = Setting.all.first(where: { $0.key == key }) else {
      preconditionFailure("no setting is called \(key)")
    }
    do {
      let value = try sources.value(of: setting)
      effective.append((setting, value))
      return value.texts
    } catch {
      faults.append(error)
      return setting.defaults
    }
  }

  mutating func text(_ key: String) -> String { texts(key).last ?? "" }

  mutating func count(_ key: String, _ range: ClosedRange<Int>) -> Int {
    let text = text(key)
    guard let number = Int(text) else {
      return fail(key, text.utf8.count, range.lowerBound, "'\(text)' is not a whole number")
    }
    guard range.contains(number) else {
      let limit = number < range.lowerBound ? range.lowerBound : range.upperBound
      return fail(key, number, limit, "must be \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  mutating func size(_ key: String, _ range: ClosedRange<Int>) -> ByteCount {
    do throws(FieldFault) {
      let size = try ByteCount(parsing: text(key), field: key)
      guard range.contains(size.bytes) else {
        let limit = size.bytes < range.lowerBound ? range.lowerBound : range.upperBound
        throw FieldFault(
          key, value: size.bytes, limit: limit,
          "must be \(ByteCount(range.lowerBound)) to \(ByteCount(range.upperBound))")
      }
      return size
    } catch {
      faults.append(error)
      return ByteCount(range.lowerBound)
    }
  }

  mutating func choice<Value>(
    _ key: String, _ values: [String: Value], else fallback: Value
  ) -> Value {
    let text = text(key)
    guard let value = values[text] else {
      let names = values.keys.sorted().joined(separator: ", ")
      faults.append(
        FieldFault(key, value: text.utf8.count, limit: 0, "'\(text)' is none of \(names)"))
      return fallback
    }
    return value
  }

  mutating func endpoints() -> [Endpoint] {
    var endpoints: [Endpoint] = []
    do {
      for text in texts("tcp") where !text.isEmpty {
        endpoints.append(try Endpoint(parsingTCP: text, field: "tcp"))
      }
      let path = text("unix")
      if !path.isEmpty { endpoints.append(try Endpoint(parsingUnix: path, field: "unix")) }
    } catch {
      faults.append(error)
      return endpoints
    }
    if endpoints.isEmpty {
      faults.append(FieldFault("tcp", value: 0, limit: 1, "nothing to listen on"))
    }
    return endpoints
  }

  mutating func namespaces() -> [NamespaceName: [TokenHash]] {
    var namespaces: [NamespaceName: [TokenHash]] = [:]
    for text in texts("namespaces") {
      do throws(FieldFault) {
        let halves = text.split(separator: ":", maxSplits: 1).map { String($0) }
        guard halves.count == 2 else {
          throw FieldFault(
            "namespaces", value: text.utf8.count, limit: 0, "an entry is NAME:SHA256")
        }
        let name = try Self.namespaceName(halves[0])
        namespaces[name, default: []].append(
          try TokenHash(hexadecimal: halves[1], field: "namespaces"))
      } catch {
        faults.append(error)
      }
    }
    return namespaces
  }

  private static func namespaceName(_ text: String) throws(FieldFault) -> NamespaceName {
    do {
      return try NamespaceName(text)
    } catch {
      throw FieldFault("namespaces", value: error.value, limit: error.limit, error.problem)
    }
  }

  /// The disk tier; each directory must hold a few segments, or reclaiming could not breathe.
  mutating func disk() -> DiskSettings {
    let entries = texts("disk")
    let segment = size("disk_segment", DiskLimits.segmentBytes)
    if segment.bytes % diskBlockBytes != 0 {
      faults.append(
        FieldFault(
          "disk_segment", value: segment.bytes, limit: diskBlockBytes,
          "must be whole blocks of \(diskBlockBytes) bytes"))
    }
    return DiskSettings(
      places: places(entries, segment), segment: segment,
      engine: named("disk_engine", else: .auto), depth: count("disk_depth", 1...128),
      admission: named("disk_admission", else: .all),
      dailyWrites: size("disk_write_budget", 0...1 << 50),
      writeDelayMilliseconds: count("disk_write_delay_ms", 0...3_600_000),
      writeBehind: size("disk_write_behind", 1 << 20...1 << 40),
      staging: size("disk_staging", 1 << 20...1 << 40))
  }

  private mutating func places(_ entries: [String], _ segment: ByteCount) -> [DiskPlace] {
    var places: [DiskPlace] = []
    for text in entries {
      do throws(FieldFault) {
        let place = try DiskPlace(parsing: text, field: "disk")
        guard !places.contains(where: { $0.path == place.path }) else {
          throw FieldFault("disk", value: 2, limit: 1, "'\(place.path)' stands there twice")
        }
        let least = segment.bytes * DiskLimits.segmentsMin
        guard place.capacity.bytes >= least else {
          throw FieldFault(
            "disk", value: place.capacity.bytes, limit: least,
            "'\(place.path)' must hold \(DiskLimits.segmentsMin) segments")
        }
        places.append(place)
      } catch {
        faults.append(error)
      }
    }
    return places
  }

  private mutating func named<Value: RawRepresentable & CaseIterable>(
    _ key: String, else fallback: Value
  ) -> Value where Value.RawValue == String {
    choice(
      key, Dictionary(uniqueKeysWithValues: Value.allCases.map { ($0.rawValue, $0) }),
      else: fallback)
  }

  mutating func limits() -> Limits {
    var limits = Limits()
    limits.maxObjectBytes = size("max_object", 1 << 10...1 << 40).bytes
    limits.maxBodyBytes = size("max_body", 64 << 10...64 << 20).bytes
    limits.maxKeysPerRequest = count("max_keys", 1...65_536)
    limits.maxRequestsInFlight = count("max_requests_in_flight", 1...65_536)
    limits.creditBytes = size("credit", 1 << 20...1 << 40).bytes
    limits.defaultDeadlineMilliseconds = count("default_deadline_ms", 1...3_600_000)
    limits.maxDeadlineMilliseconds = count("max_deadline_ms", 1...3_600_000)
    limits.handshakeTimeoutMilliseconds = count("handshake_timeout_ms", 1...3_600_000)
    limits.idleTimeoutMilliseconds = count("idle_timeout_ms", 1...86_400_000)
    limits.writeStallMilliseconds = count("write_stall_ms", 1...3_600_000)
    limits.reservationTimeoutMilliseconds = count("reservation_timeout_ms", 1...3_600_000)
    limits.defaultLeaseMilliseconds = count("default_lease_ms", 1...3_600_000)
    limits.maxLeaseMilliseconds = count("max_lease_ms", 1...3_600_000)
    limits.maxPinMilliseconds = UInt64(count("max_pin_ms", 1...315_360_000_000))
    requireOrder(
      "default_deadline_ms", limits.defaultDeadlineMilliseconds,
      "max_deadline_ms", limits.maxDeadlineMilliseconds)
    requireOrder(
      "default_lease_ms", limits.defaultLeaseMilliseconds,
      "max_lease_ms", limits.maxLeaseMilliseconds)
    return limits
  }

  /// No token, no entry: a daemon that nobody could enter is a mistake.
  mutating func requireEntry(_ isClosed: Bool) {
    guard isClosed else { return }
    faults.append(
      FieldFault(
        "namespaces", value: 0, limit: 1,
        "nobody could enter: name a namespace and a token's SHA-256, or listen on loopback only"))
  }

  private mutating func requireOrder(_ low: String, _ value: Int, _ high: String, _ limit: Int) {
    guard value > limit else { return }
    faults.append(FieldFault(low, value: value, limit: limit, "is larger than \(high)"))
  }

  private mutating func fail(_ key: String, _ value: Int, _ limit: Int, _ problem: String) -> Int {
    faults.append(FieldFault(key, value: value, limit: limit, problem))
    return limit
  }
}
