internal import Dispatch
internal import Glibc
internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// One measurement of the disk tier.
struct DiskLine: Encodable {
  var kind = "disk"
  let operation: String
  let engine: String
  let isDirect: Bool
  let objectBytes: Int
  let objects: Int
  let depth: Int
  let seconds: Double
  let gigabytesPerSecond: Double
  let cpuSecondsPerGibibyte: Double

  var text: String {
    "\(operation) \(objects) x \(objectBytes) bytes, depth \(depth), \(engine): "
      + "\(Output.decimal(gigabytesPerSecond, digits: 3)) GB/s, "
      + "\(Output.decimal(cpuSecondsPerGibibyte, digits: 3)) CPU s/GiB"
  }
}

/// Writes objects to a new disk tier and reads them back.
final class DiskBench: Sendable {
  private let tier: DiskTier
  private let engineName: String
  private let isDirect: Bool
  private let arena: Arena
  private let owner = ArenaOwner(number: 0)
  private let tenant: NamespaceName
  private let objectBytes: Int
  private let count: Int
  private let depth: Int
  private let source: SourceBytes
  private let names: [ChunkHash]

  init(
    directory: String, objectBytes: Int, totalBytes: Int, segmentBytes: Int, depth: Int,
    engine wish: DiskEngineWish
  ) throws {
    self.objectBytes = objectBytes
    self.depth = depth
    count = max(1, totalBytes / objectBytes)
    tenant = try NamespaceName("bench")
    var random = SystemRandomNumberGenerator()
    names = try (0..<count).map { _ in
      try ChunkHash(
        (0..<ChunkHash.byteCount).map { _ in UInt8.random(in: 0...255, using: &random) })
    }
    arena = try Arena(
      ArenaConfiguration(capacityBytes: (2 * depth + 2) * max(objectBytes, 64 << 20) / 4))
    source = try SourceBytes(byteCount: objectBytes, in: arena, owner)
    let files = try FileDirectory(path: directory)
    isDirect = files.isDirect
    let chosen = try DiskEngines.choose(wish)
    engineName = chosen.engine.name
    var configuration = DiskConfiguration()
    configuration.segmentBytes = segmentBytes
    configuration.writesInFlight = depth
    configuration.readsInFlight = depth
    // Room for all and half as much again: nothing is reclaimed while it is measured.
    let capacity = totalBytes / 2 * 3 + 8 * segmentBytes
    tier = try DiskTier(
      configuration,
      directories: [
        DiskDirectoryConfiguration(
          directory: files, engine: chosen.engine, capacityBytes: capacity)
      ], clock: SystemClock(), wallClock: SystemWallClock()
    ) { Output.complain("\($0)") }
    tier.start()
  }

  /// Measures PUT, then GET.
  func run() throws -> [DiskLine] {
    let put = try measure("put") { number, ended in self.put(number, ended) }
    let get = try measure("get") { number, ended in self.get(number, ended) }
    let closed = DispatchSemaphore(value: 0)
    tier.close { closed.signal() }
    closed.wait()
    return [put, get]
  }

  private func measure(
    _ operation: String, _ work: (Int, @escaping @Sendable (Bool) -> Void) -> Void
  ) throws -> DiskLine {
    let places = DispatchSemaphore(value: depth)
    let failures = Guarded(0)
    let cpu = ProcessTime.own()
    let start = SystemClock().now()
    for number in 0..<count {
      places.wait()
      work(number) { isRight in
        if !isRight { failures.withLock { $0 += 1 } }
        places.signal()
      }
    }
    for _ in 0..<depth { places.wait() }
    if operation == "put" { makeDurable() }
    let seconds = Double(SystemClock().now().nanoseconds(since: start)) / 1e9
    let used = ProcessTime.own() - cpu
    for _ in 0..<depth { places.signal() }
    let failed = failures.withLock { $0 }
    guard failed == 0 else {
      throw BenchError.refused(target: "disk", answer: "\(failed) of \(count) failed")
    }
    let total = Double(count) * Double(objectBytes)
    return DiskLine(
      operation: operation, engine: engineName, isDirect: isDirect, objectBytes: objectBytes,
      objects: count, depth: depth, seconds: seconds, gigabytesPerSecond: total / 1e9 / seconds,
      cpuSecondsPerGibibyte: used / (total / Double(1 << 30)))
  }

  private func put(_ number: Int, _ ended: @escaping @Sendable (Bool) -> Void) {
    let facts = ObjectFacts(
      namespace: tenant, generation: 0, key: key(number), byteCount: objectBytes,
      checksum: source.checksum, storedAtMilliseconds: SystemWallClock().milliseconds())
    tier.write(facts, source.bytes(), isDurable: false) { result in
      if case .success = result { ended(true) } else { ended(false) }
    }
  }

  /// As fio with `end_fsync`: the time counts until nothing can be lost.
  private func makeDurable() {
    let group = DispatchGroup()
    for number in 0..<count {
      group.enter()
      tier.makeDurable(key(number), in: tenant) { _ in group.leave() }
    }
    group.wait()
  }

  private func get(_ number: Int, _ ended: @escaping @Sendable (Bool) -> Void) {
    guard let reservation = arena.reserve(byteCount: objectBytes, owner: owner) else {
      return ended(false)
    }
    tier.read(key(number), in: tenant, into: TierRoom(reservation)) { reading in
      if case .whole = reading { ended(true) } else { ended(false) }
    }
  }

  private func key(_ number: Int) -> ObjectKey {
    ObjectKey(opaque: names[number])
  }
}

/// Random bytes in the arena, written again and again.
private struct SourceBytes {
  private let block: Block
  let checksum: Checksum

  init(byteCount: Int, in arena: Arena, _ owner: ArenaOwner) throws {
    guard let reservation = arena.reserve(byteCount: byteCount, owner: owner) else {
      throw BenchError.system(call: "reserve", code: ENOMEM)
    }
    var random = SystemRandomNumberGenerator()
    let bytes = (0..<byteCount / 8 + 1).map { _ in random.next() as UInt64 }
    unsafe bytes.withUnsafeBytes { words in
      unsafe reservation.base.copyMemory(
        from: words.baseAddress.unsafelyUnwrapped, byteCount: byteCount)
    }
    checksum = unsafe Checksum(
      of: UnsafeRawBufferPointer(start: reservation.base, count: byteCount))
    block = reservation.seal()
  }

  func bytes() -> TierBytes { TierBytes(block.lease()) }
}
