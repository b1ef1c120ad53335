import KDNCore
import KDNTier

/// The objects of a disk simulation: chains of chunks in two layouts and two parts, and opaque
/// objects, in two tenants' spaces.
struct DiskUniverse {
  static let chainCount = 3
  static let chunksPerChain = 5
  static let opaqueCount = 8

  /// One object's name.
  struct Name: Hashable {
    /// Index into `namespaces`.
    let tenant: Int
    /// Index into `keys`.
    let number: Int
  }

  let namespaces: [NamespaceName]
  let layouts: [Layout]
  /// All keys, the same for each tenant.
  let keys: [ObjectKey]
  let parents: [ChunkHash]
  let names: [Name]
  private let numbers: [ObjectKey: Int]

  init() throws {
    namespaces = [try NamespaceName("tenant-a"), try NamespaceName("b")]
    layouts = try [128, 256].map {
      try Layout(
        elementType: .i8, groups: [LayoutGroup(kind: .opaque(bytesPerToken: $0), layers: [0, 1])])
    }
    var keys: [ObjectKey] = []
    var parents: [ChunkHash] = []
    for chain in 0..<Self.chainCount {
      for chunk in 0..<Self.chunksPerChain {
        for part in 0..<(chain == 0 ? 2 : 1) {
          keys.append(
            ObjectKey(
              hash: Self.hash(chain, chunk), layout: layouts[chain % 2].id,
              part: Part(
                firstLayer: UInt16(part), layerCount: 1, firstKVHead: 0, kvHeadCount: 1)))
          parents.append(chunk == 0 ? .none : Self.hash(chain, chunk - 1))
        }
      }
    }
    for number in 0..<Self.opaqueCount {
      keys.append(ObjectKey(opaque: HashChain.opaque([2, UInt8(number)])))
      parents.append(.none)
    }
    self.keys = keys
    self.parents = parents
    names = (0..<2).flatMap { tenant in
      keys.indices.map { Name(tenant: tenant, number: $0) }
    }
    numbers = Dictionary(uniqueKeysWithValues: zip(keys, keys.indices))
  }

  /// The chunk hashes of all chains.
  var hashes: [ChunkHash] {
    (0..<Self.chainCount).flatMap { chain in
      (0..<Self.chunksPerChain).map { Self.hash(chain, $0) }
    }
  }

  func number(of key: ObjectKey) -> Int? { numbers[key] }

  private static func hash(_ chain: Int, _ chunk: Int) -> ChunkHash {
    // The first chunk of the last two chains is the same: a tree.
    HashChain.opaque([1, UInt8(chunk == 0 && chain > 1 ? 1 : chain), UInt8(chunk)])
  }

  /// A length: often at the edges of what fits into a block, or whole pages.
  static func byteCount(_ random: inout RandomSource) -> Int {
    switch random.number(below: 10) {
    case 0: 1 + random.number(below: 8)
    case 1: 3584 + random.number(below: 3) - 1
    case 2: 4096 * (1 + random.number(below: 5))
    case 3: 4096 * (1 + random.number(below: 4)) - 512 + random.number(below: 3) - 1
    case 4..<8: 1 + random.number(below: 3000)
    default: 1 + random.number(below: 20_000)
    }
  }
}

/// The bytes of an object that was written.
enum DiskContent {
  /// A piece of the noise that begins here.
  case noise(Int)
  /// What was read from a device: it looks as the log does.
  case forged([UInt8])

  /// Random bytes, the same in each run.
  static let noise: [UInt8] = {
    var random = RandomSource(seed: 1)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(1 << 18)
    for _ in 0..<(1 << 15) {
      withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) }
    }
    return bytes
  }()

  /// Calls `body` with the `count` bytes.
  func withBytes<Result>(_ count: Int, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    switch self {
    case .noise(let start):
      Self.noise.withUnsafeBytes {
        body(UnsafeRawBufferPointer(rebasing: $0[start..<start + count]))
      }
    case .forged(let bytes):
      bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[0..<count])) }
    }
  }
}
