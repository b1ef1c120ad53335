import KDNCore
import KDNMemory
import KDNTier
import Synchronization
import Testing

@Suite("Simulated devices")
struct SimulatedDiskTests {
  /// Keeps memory in place as long as a test lasts.
  private final class Memory {
    var buffers: [PageBuffer] = []
  }

  private let block = diskBlockBytes
  private let memory = Memory()

  private func span(_ byte: UInt8, blocks: Int = 1) -> BlockSpan {
    let buffer = PageBuffer(byteCount: blocks * block)
    memory.buffers.append(buffer)
    buffer.base.initializeMemory(as: UInt8.self, repeating: byte, count: blocks * block)
    return BlockSpan(base: buffer.base, byteCount: blocks * block)
  }

  /// A device with one file of `blocks` blocks.
  private func device(seed: UInt64 = 1, blocks: Int = 4) throws -> (SimulatedDisk, SimulatedFile) {
    let disk = SimulatedDisk(seed: seed, capacities: [64 * block])
    _ = try disk.directories[0].create("a", byteCount: blocks * block)
    return (disk, try #require(disk.directories[0].file("a")))
  }

  /// The first byte of each sector.
  private func sectors(_ file: SimulatedFile) -> [UInt8] {
    let bytes = file.bytes(0..<file.byteCount)
    return stride(from: 0, to: bytes.count, by: 512).map { bytes[$0] }
  }

  @Test("what was synchronised survives a loss of power, whatever came after it in other places")
  func synchronisedSurvives() throws {
    let (disk, file) = try device()
    try file.write(at: 0, from: [span(1, blocks: 2)])
    try file.synchronise()
    try file.write(at: 2 * block, from: [span(2, blocks: 2)])
    disk.crash(.powerLoss)
    #expect(sectors(file).prefix(16).allSatisfy { $0 == 1 })
  }

  @Test("of what was not synchronised any sector may be there or not, each for itself")
  func unsynchronisedTears() throws {
    var seen: Set<[UInt8]> = []
    for seed: UInt64 in 1...20 {
      let (disk, file) = try device(seed: seed, blocks: 1)
      try file.write(at: 0, from: [span(1)])
      #expect(sectors(file).allSatisfy { $0 == 1 }, "it is read before it is durable")
      disk.crash(.powerLoss)
      let left = sectors(file)
      #expect(left.allSatisfy { $0 < 2 })
      seen.insert(left)
    }
    #expect(seen.count > 10)
  }

  @Test("a process that dies loses nothing of what it wrote")
  func killKeeps() throws {
    let (disk, file) = try device()
    try file.write(at: 0, from: [span(1, blocks: 4)])
    disk.crash(.kill)
    #expect(sectors(file).allSatisfy { $0 == 1 })
    #expect(file.hasVolatileSectors)
    disk.crash(.powerLoss)
    #expect(sectors(file).contains(0), "and the power takes it afterwards")
  }

  @Test("a sector written twice holds one of both after a loss of power, or what was before")
  func rewriting() throws {
    var seen: Set<UInt8> = []
    for seed: UInt64 in 1...10 {
      let (disk, file) = try device(seed: seed, blocks: 1)
      for byte: UInt8 in 1...2 { try file.write(at: 0, from: [span(byte)]) }
      disk.crash(.powerLoss)
      seen.formUnion(sectors(file))
    }
    #expect(seen == [0, 1, 2])
  }

  @Test("a failed synchronise forgets, and the next one proves nothing")
  func failedSynchronise() throws {
    var lost = 0
    for seed: UInt64 in 1...10 {
      let (disk, file) = try device(seed: seed)
      try file.write(at: 0, from: [span(1, blocks: 4)])
      disk.directories[0].faults.synchronise = 1
      #expect(throws: DiskError.self) { try file.synchronise() }
      disk.directories[0].faults.synchronise = 0
      try file.synchronise()
      disk.crash(.powerLoss)
      lost += sectors(file).filter { $0 == 0 }.count
    }
    #expect(lost > 40)
  }

  @Test("a device without power does nothing, and the operation that met its end is done in part")
  func powerEnds() throws {
    let (disk, file) = try device(blocks: 4)
    disk.operationsUntilPowerLoss = 2
    try file.write(at: 0, from: [span(1)])
    #expect(throws: DiskError.self) { try file.write(at: block, from: [span(2, blocks: 2)]) }
    #expect(!disk.isPowered)
    let left = sectors(file)
    #expect(left[8..<24].contains(2) && left[8..<24].contains(0))
    #expect(throws: DiskError.self) { try file.synchronise() }
    #expect(throws: DiskError.self) { try disk.directories[0].remove("a") }
    #expect(sectors(file) == left)
    disk.crash(.powerLoss)
    #expect(sectors(file).prefix(8).allSatisfy { $0 < 2 })
    try file.synchronise()
  }

  @Test("names are durable when they are made, changed or removed")
  func names() throws {
    let (disk, _) = try device()
    let directory = disk.directories[0]
    _ = try directory.create("b", byteCount: block)
    try directory.rename("b", to: "a")
    disk.crash(.powerLoss)
    let names = try directory.list()
    #expect(names.map(\.name) == ["a"] && names.map(\.byteCount) == [block])
    #expect(throws: DiskError.self) { try directory.open("b") }
    try directory.remove("a")
    try directory.remove("a")
    #expect(directory.allocatedBytes == 0)
  }

  @Test("files over the cap are a violation")
  func cap() throws {
    let (disk, _) = try device()
    _ = try disk.directories[0].create("b", byteCount: 60 * block)
    #expect(disk.violations.isEmpty)
    _ = try disk.directories[0].create("c", byteCount: block)
    #expect(disk.violations.count == 1)
  }

  @Test("a damaged sector cannot be read until it is written")
  func damage() throws {
    let (disk, file) = try device()
    let room = span(0)
    disk.directories[0].damage(file, sector: 9)
    try file.read(at: 0, into: [room])
    #expect(throws: DiskError.self) { try file.read(at: block, into: [room]) }
    try file.write(at: block, from: [room])
    try file.read(at: block, into: [room])
  }

  @Test("a flipped bit is read as it is")
  func flip() throws {
    let (disk, file) = try device(blocks: 1)
    file.flip(bit: 3, ofByte: 512)
    disk.crash(.powerLoss)
    #expect(sectors(file) == [0, 8, 0, 0, 0, 0, 0, 0])
  }

  @Test("a synchronise that is submitted covers what was completed before, not all that follows")
  func engineSynchronise() throws {
    var losses = 0
    for seed: UInt64 in 1...20 {
      let (disk, file) = try device(seed: seed, blocks: 2)
      let engine = SimulatedEngine(disk: disk)
      let done = Atomic(0)
      engine.submit(.write(file, at: 0, from: [span(1)])) { _ in
        done.wrappingAdd(1, ordering: .relaxed)
      }
      while engine.step() {}
      #expect(done.load(ordering: .relaxed) == 1)
      engine.submit(.synchronise(file)) { _ in done.wrappingAdd(1, ordering: .relaxed) }
      engine.submit(.write(file, at: block, from: [span(2)])) { _ in }
      while engine.step() {}
      #expect(done.load(ordering: .relaxed) == 2)
      disk.crash(.powerLoss)
      #expect(sectors(file).prefix(8).allSatisfy { $0 == 1 })
      losses += sectors(file).suffix(8).contains(0) ? 1 : 0
    }
    #expect((1...19).contains(losses))
  }

  @Test("works are done in any order, and those of the dead are never told")
  func engineOrder() throws {
    var orders: Set<[Int]> = []
    for seed: UInt64 in 1...20 {
      let (disk, file) = try device(seed: seed)
      let engine = SimulatedEngine(disk: disk)
      let order = Guarded<[Int]>([])
      let spans = (0..<3).map { span(UInt8($0 + 1)) }
      for number in 0..<3 {
        engine.submit(.write(file, at: number * block, from: [spans[number]])) { _ in
          order.withLock { $0.append(number) }
        }
      }
      for _ in 0..<seed % 12 { _ = engine.step() }
      engine.die()
      let told = order.withLock { $0 }
      #expect(!engine.step() && order.withLock { $0 } == told)
      if told.count == 3 { orders.insert(told) }
    }
    #expect(orders.count > 1)
  }

  @Test("two writes to the same blocks at once, and memory that changes under one, are violations")
  func engineViolations() throws {
    let (disk, file) = try device()
    let engine = SimulatedEngine(disk: disk)
    let first = span(1, blocks: 2)
    engine.submit(.write(file, at: 0, from: [first])) { _ in }
    engine.submit(.write(file, at: block, from: [span(2)])) { _ in }
    #expect(disk.violations.count == 1)
    first.base.storeBytes(of: 7, as: UInt8.self)
    while engine.step() {}
    #expect(disk.violations.count == 2)
  }
}
