internal import CNuma
internal import Dispatch
internal import Glibc
internal import KDNCore

/// Makes slabs the way the configuration wishes and the machine allows.
struct SlabFactory: Sendable {
  /// Bytes of an ordinary slab.
  let slabBytes: Int
  /// What clients still hold of slabs that are gone.
  let stranded = StrandedMemory()
  private let slabCount: Int
  private let configuration: ArenaConfiguration
  private let nodes: [Int32]

  private static let pageBytes = 4096
  private static let hugePageBytes = 2 << 20

  /// Checks the sizes and looks at the machine.
  init(_ configuration: ArenaConfiguration) throws(ArenaError) {
    let slabBytes = configuration.slabBytes
    guard slabBytes > 0, slabBytes % Self.pageBytes == 0, configuration.capacityBytes >= slabBytes
    else {
      throw .sizes(capacityBytes: configuration.capacityBytes, slabBytes: slabBytes)
    }
    self.slabBytes = slabBytes
    self.configuration = configuration
    slabCount = configuration.capacityBytes / slabBytes
    nodes = configuration.numa == .auto ? Self.findNodes() : []
  }

  /// Maps all slabs.
  func makeAll() throws(ArenaError) -> [Slab] {
    var slabs: [Slab] = []
    for number in 0..<slabCount { slabs.append(try make(slabBytes, number: number)) }
    return slabs
  }

  /// Has the kernel give all pages if configured, and tells what was obtained.
  func place(_ slabs: [Slab]) -> ArenaPlacement {
    let clock = SystemClock()
    let start = clock.now()
    if configuration.prefault {
      DispatchQueue.concurrentPerform(iterations: slabs.count) { slabs[$0].prefault() }
    }
    let reserved = slabs.reduce(0) { $0 + ($1.isHuge ? $1.byteCount : 0) }
    return ArenaPlacement(
      slabCount: slabs.count, slabBytes: slabBytes,
      hugeBytes: reserved + (configuration.hugePages == .auto ? Self.transparentHugeBytes() : 0),
      lockedBytes: slabs.reduce(0) { $0 + ($1.isLocked ? $1.byteCount : 0) },
      nodeCount: max(1, nodes.count),
      prefaultNanoseconds: configuration.prefault ? clock.now().nanoseconds(since: start) : 0)
  }

  /// Makes one slab in the place of others; nil if the kernel refuses.
  func remake(_ byteCount: Int, number: Int) -> Slab? {
    try? make(byteCount, number: number)
  }

  private func make(_ byteCount: Int, number: Int) throws(ArenaError) -> Slab {
    let node = nodes.isEmpty ? nil : nodes[number % nodes.count]
    return try Slab(
      byteCount: byteCount,
      wantsHuge: configuration.hugePages == .auto && byteCount % Self.hugePageBytes == 0,
      wantsLock: configuration.lockMemory == .auto, node: node, stranded: stranded)
  }

  /// Nodes with memory; none where there is but one.
  private static func findNodes() -> [Int32] {
    guard numa_available() >= 0, numa_max_node() > 0 else { return [] }
    let nodes = (0...numa_max_node()).filter { numa_node_size64($0, nil) > 0 }
    return nodes.count > 1 ? nodes : []
  }

  /// Bytes of shared memory that the kernel maps with huge pages for this process.
  private static func transparentHugeBytes() -> Int {
    guard let file = unsafe fopen("/proc/self/smaps_rollup", "r") else { return 0 }
    defer { unsafe fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while unsafe fgets(&line, Int32(line.count), file) != nil {
      let text = String(
        decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      guard text.hasPrefix("ShmemPmdMapped:") else { continue }
      let kibibytes = text.split(separator: " ").dropFirst().first.flatMap { Int($0) }
      return (kibibytes ?? 0) << 10
    }
    return 0
  }
}
