import Foundation
import KDNCore
import KDNMemory
import Testing

@testable import KDNTier

/// A log on real files whose clocks the test sets; small segments, so that little fills many.
// Safe because: what can change is changed before the first log is opened.
final class LogFixture: @unchecked Sendable {
  static let segmentBytes = 1 << 20
  static let journalBytes = 64 << 10

  let folder: Folder
  let clock = ManualClock()
  let wall = ManualWallClock()
  let arena: Arena
  let owner = ArenaOwner(number: 0)
  let tenant: NamespaceName
  var capacityBytes = 16 << 20
  var configuration = DiskConfiguration()
  let events = EventRecord()

  init() throws {
    folder = try Folder()
    tenant = try NamespaceName("tenant")
    arena = try Arena(
      ArenaConfiguration(
        capacityBytes: 32 << 20, slabBytes: 4 << 20, hugePages: .off, lockMemory: .off,
        numa: .off, prefault: false))
    configuration.segmentBytes = Self.segmentBytes
    configuration.journalBytes = Self.journalBytes
    configuration.syncDelayMilliseconds = 0
  }

  /// Opens the log and waits until all of it is known.
  func open(
    _ names: String..., prepare: (DiskTier) -> Void = { _ in }
  ) async throws -> DiskTier {
    let directories = try (names.isEmpty ? ["a"] : names).map { name in
      DiskDirectoryConfiguration(
        directory: try FileDirectory(path: "\(folder.path)/\(name)"),
        engine: try ThreadEngine(readers: 2, writers: 2, others: 1, label: "log"),
        capacityBytes: capacityBytes)
    }
    let tier = try DiskTier(
      configuration, directories: directories, clock: clock, wallClock: wall
    ) { [events] in events.note($0) }
    prepare(tier)
    tier.start()
    while !tier.isReady { await Task.yield() }
    return tier
  }

  /// Names an object; the bytes follow from the number too.
  func key(_ number: Int) throws -> ObjectKey {
    ObjectKey(opaque: try hash(number))
  }

  func hash(_ number: Int) throws -> ChunkHash {
    try ChunkHash((0..<32).map { UInt8(truncatingIfNeeded: number >> (8 * ($0 % 4))) ^ UInt8($0) })
  }

  func bytes(_ number: Int, _ count: Int) -> [UInt8] {
    var random = SplitMix(state: UInt64(number))
    let words = (0..<16).map { _ in random.next() }
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      // A pattern of 128 bytes, numbered so that no two repetitions are alike.
      words.withUnsafeBytes { pattern in
        for start in stride(from: 0, to: count, by: 128) {
          let piece = buffer[start..<min(count, start + 128)]
          UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: piece))
            .copyBytes(from: pattern.prefix(piece.count))
          buffer[start] = UInt8(truncatingIfNeeded: start / 128)
        }
      }
      filled = count
    }
  }

  func facts(
    _ number: Int, _ count: Int, ttl: UInt64 = 0, generation: UInt64 = 0,
    of namespace: NamespaceName? = nil
  ) throws -> ObjectFacts {
    ObjectFacts(
      namespace: namespace ?? tenant, generation: generation, key: try key(number),
      byteCount: count, checksum: Checksum(of: bytes(number, count)),
      storedAtMilliseconds: wall.milliseconds(), ttlMilliseconds: ttl)
  }

  /// Writes object `number`.
  func write(
    _ number: Int, _ count: Int, to tier: DiskTier, isDurable: Bool = true, ttl: UInt64 = 0,
    generation: UInt64 = 0, of namespace: NamespaceName? = nil
  ) async throws -> Result<Void, TierRefusal> {
    let facts = try facts(number, count, ttl: ttl, generation: generation, of: namespace)
    return try await write(facts, bytes(number, count), to: tier, isDurable: isDurable)
  }

  /// Writes an object of any facts.
  func write(
    _ facts: ObjectFacts, _ bytes: [UInt8], to tier: DiskTier, isDurable: Bool = true
  ) async throws -> Result<Void, TierRefusal> {
    let lease = try leased(bytes)
    return await withCheckedContinuation { continuation in
      tier.write(facts, lease, isDurable: isDurable) { continuation.resume(returning: $0) }
    }
  }

  func leased(_ bytes: [UInt8]) throws -> TierBytes {
    guard let reservation = arena.reserve(byteCount: bytes.count, owner: owner) else {
      throw Full()
    }
    UnsafeMutableRawBufferPointer(start: reservation.base, count: bytes.count).copyBytes(
      from: bytes)
    return TierBytes(reservation.seal().lease())
  }

  /// Reads object `number` back.
  func read(_ number: Int, from tier: DiskTier) async throws -> TierReading {
    let key = try key(number)
    guard case .held(let held) = tier.find(key, in: tenant) else {
      return .missed(.neverStored)
    }
    guard let reservation = arena.reserve(byteCount: held.byteCount, owner: owner) else {
      throw Full()
    }
    let room = TierRoom(reservation)
    let reading = await withCheckedContinuation { continuation in
      tier.read(key, in: tenant, into: room) { continuation.resume(returning: $0) }
    }
    if case .whole = reading {
      let found = [UInt8](UnsafeRawBufferPointer(start: room.base, count: room.byteCount))
      #expect(found == bytes(number, held.byteCount), "object \(number) has other bytes")
    }
    return reading
  }

  func purge(_ scope: TierPurge, from tier: DiskTier) async throws -> Int {
    try await withCheckedContinuation { continuation in
      tier.purge(scope, in: tenant, counted: []) { continuation.resume(returning: $0) }
    }.get().objects
  }

  /// Bytes of all files of a directory.
  func usedBytes(of directory: String) throws -> Int {
    let names = try FileManager.default.contentsOfDirectory(atPath: "\(folder.path)/\(directory)")
    return try names.reduce(0) { sum, name in
      let url = folder.url("\(directory)/\(name)")
      return try sum + (url.resourceValues(forKeys: [.fileSizeKey]).fileSize ?? 0)
    }
  }

  /// Ends a log as a clean stop does.
  func close(_ tier: DiskTier) async {
    await withCheckedContinuation { continuation in tier.close { continuation.resume() } }
  }

  struct Full: Error {}
}

/// What a log told its operator.
final class EventRecord: Sendable {
  private let lines = Guarded<[String]>([])

  func note(_ event: DiskEvent) { lines.withLock { $0.append("\(event)") } }
  func has(_ text: String) -> Bool { lines.withLock { $0.contains { $0.contains(text) } } }
}

/// A small seeded source of numbers.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}

extension TierReading {
  var isWhole: Bool {
    if case .whole = self { return true }
    return false
  }
}
