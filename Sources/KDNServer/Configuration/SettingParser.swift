internal import Glibc
internal import KDNCore

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

  /// Notes a fault.
  mutating func note(_ fault: FieldFault) { faults.append(fault) }

  /// Runs `body` and notes the fault that it throws; nil then.
  mutating func noting<Value>(
    _ body: (inout SettingParser) throws(FieldFault) -> Value
  ) -> Value? {
    do {
      return try body(&self)
    } catch {
      faults.append(error)
      return nil
    }
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
