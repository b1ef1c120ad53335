import KDNCore

@testable import KDNTier

/// A seeded source of numbers (SplitMix64), so that a failing run can be run again.
struct SeededSource: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

/// Values of everything that is kept on disk, chosen at random, the limits among them.
struct FormatSamples {
  var source: SeededSource

  init(seed: UInt64) { source = SeededSource(seed) }

  mutating func number() -> UInt64 {
    let extremes: [UInt64] = [0, 1, .max, 1 << 63]
    return Bool.random(using: &source)
      ? .random(in: 0...UInt64.max, using: &source)
      : extremes[Int.random(in: 0..<extremes.count, using: &source)]
  }

  mutating func directoryID() throws -> DirectoryID {
    var reader = ByteReader(bytes(DirectoryID.byteCount))
    return try DirectoryID(from: &reader)
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &source) }
  }

  mutating func namespace() throws -> NamespaceName {
    let letters = Array("abcXYZ019._-")
    let count = [1, 7, 128][Int.random(in: 0..<3, using: &source)]
    return try NamespaceName(
      String((0..<count).map { _ in letters.randomElement(using: &source) ?? "a" }))
  }

  mutating func hash() throws -> ChunkHash { try ChunkHash(bytes(32)) }

  mutating func layoutID() -> LayoutID { LayoutID(ofCanonicalEncoding: bytes(8)) }

  mutating func key() throws -> ObjectKey {
    guard Bool.random(using: &source) else { return ObjectKey(opaque: try hash()) }
    let part = Part(
      firstLayer: UInt16.random(in: 0...4095, using: &source),
      layerCount: UInt16.random(in: 1...UInt16.max, using: &source),
      firstKVHead: UInt16.random(in: 0...1023, using: &source),
      kvHeadCount: UInt16.random(in: 1...1024, using: &source))
    return ObjectKey(
      hash: try hash(), layout: layoutID(), part: part,
      variant: UInt32.random(in: 0...UInt32.max, using: &source))
  }

  mutating func facts() throws -> ObjectFacts {
    let key = try key()
    let isOpaque = key.kind == .opaque
    let sizes = [1, 3584, 3585, 4096, 1 << 20, 1 << 40]
    let byteCount = sizes[Int.random(in: 0..<sizes.count, using: &source)]
    return ObjectFacts(
      namespace: try namespace(), generation: number(), key: key,
      parent: isOpaque ? .none : try hash(), byteCount: byteCount,
      checksum: Checksum(number()), form: try form(of: byteCount), firstToken: Int(number() >> 1),
      tokenCount: isOpaque ? 0 : Int(UInt32.random(in: 0...UInt32.max, using: &source)),
      recomputeMicroseconds: number(), storedAtMilliseconds: number(), ttlMilliseconds: number())
  }

  /// No form, or any that an object of this length may have.
  mutating func form(of byteCount: Int) throws -> StoredForm? {
    guard byteCount > 1, Bool.random(using: &source) else { return nil }
    return StoredForm(
      codec: UInt8.random(in: 1...UInt8.max, using: &source),
      byteCount: Int.random(in: 1..<byteCount, using: &source), checksum: Checksum(number()),
      decodedChecksum: Checksum(number()),
      profile: Bool.random(using: &source) ? .none : try hash())
  }

  mutating func recordHeader() throws -> RecordHeader {
    RecordHeader(
      facts: try facts(), incarnation: number(), sequence: number(),
      blockIndex: Int(UInt32.random(in: 1...UInt32.max, using: &source)),
      isPaged: Bool.random(using: &source))
  }

  mutating func segmentHeader() throws -> SegmentHeader {
    SegmentHeader(
      incarnation: number(), nonce: number(),
      segmentBytes: diskBlockBytes * Int.random(in: 4...1 << 32, using: &source),
      directoryID: try directoryID(), openedAtMilliseconds: number())
  }

  mutating func segmentTrailer() -> SegmentTrailer {
    let sequences = [number(), number()].sorted()
    return SegmentTrailer(
      incarnation: number(), nonce: number(),
      footerBlock: Int(UInt32.random(in: 1...UInt32.max, using: &source)),
      recordCount: Int(UInt32.random(in: 0...UInt32.max, using: &source)),
      firstSequence: sequences[0], lastSequence: sequences[1], footerChecksum: Checksum(number()))
  }

  mutating func superblock() throws -> Superblock {
    Superblock(
      directoryID: try directoryID(),
      segmentBytes: diskBlockBytes * Int.random(in: 4...1 << 32, using: &source),
      journalBytes: diskBlockBytes * Int.random(in: 4...1 << 20, using: &source),
      createdAtMilliseconds: number())
  }

  mutating func layout() throws -> Layout {
    let heads = UInt16.random(in: 1...1024, using: &source)
    let rope = RoPE(theta: 10_000, rotaryDims: 64)
    return try Layout(
      elementType: ElementType.allCases.randomElement(using: &source) ?? .bf16,
      groups: [
        LayoutGroup(
          kind: .attention(kvHeads: heads, headDim: 128), layers: Array(0..<32), rope: rope),
        LayoutGroup(kind: .opaque(bytesPerToken: 77), layers: [40, 4095]),
      ])
  }

  /// A change of documents of each kind, and of each operation that is kept.
  mutating func documentChanges() throws -> [DocumentChange] {
    let document = try document("a/règle")
    let spans = try TokenSpans([0..<1, 3..<9])
    let operations: [EditOperation] = [
      .scaleKeys(1.5, spans), .scaleValues(-4, spans), .drop(spans), .requantise(.small),
    ]
    let name = try namespace()
    return [
      .epoch(name, number()), .layout(name, try layout()),
      .published(name, document, epoch: number()), .retired(name, name: "a"),
      .reverted(name, name: "a*", id: number()), .forgotten(name),
      .denied(name, try AccessRules(denied: ["secret/*", "x", "*"])), .denied(name, .none),
    ]
      + operations.enumerated().map { index, operation in
        .edited(name, name: "a", DocumentEdit(id: UInt64(index + 1), operation: operation))
      }
  }

  /// A document of 100 tokens.
  mutating func document(_ name: String) throws -> Document {
    let hashes = try (0..<7).map { _ in try hash() }
    return try Document(
      name: name, layout: layoutID(), tokenCount: 100, chunkTokens: 16, hashes: hashes,
      metadata: "{}")
  }

  /// One entry of each kind, lists with `count` elements.
  mutating func journalEntries(count: Int) throws -> [JournalEntry] {
    var keys: [ObjectKey] = []
    var hashes: [ChunkHash] = []
    for _ in 0..<count {
      keys.append(try key())
      hashes.append(try hash())
    }
    let layouts = (0..<count).map { _ in layoutID() }
    return [
      .generation(try namespace(), number()),
      .purgedKeys(try namespace(), sequence: number(), keys: keys),
      .purgedLayouts(try namespace(), sequence: number(), layouts: layouts),
      .purgedChunks(try namespace(), sequence: number(), hashes: hashes),
      .layout(try namespace(), try layout()),
      .pinned(try namespace(), try key(), endMilliseconds: number()),
      .unpinned(try namespace(), try key()),
      .sequenceReserved(number()),
    ]
  }

  mutating func checkpoint(count: Int) throws -> Checkpoint {
    Checkpoint(
      directoryID: try directoryID(),
      entries: (0..<count).map { _ in
        CheckpointEntry(
          incarnation: number(), block: Int(UInt32.random(in: 0...UInt32.max, using: &source)),
          uses: UInt32.random(in: 0...UInt32.max, using: &source), sequence: number())
      })
  }
}

/// What `write` fills a buffer of `byteCount` bytes with, all of which it must write.
func written(
  _ byteCount: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void
) -> [UInt8] {
  var bytes = [UInt8](repeating: 0xA5, count: byteCount)
  bytes.withUnsafeMutableBytes { write($0) }
  return bytes
}

extension JournalFrame {
  /// The frame's blocks.
  var blocks: [UInt8] {
    written(JournalFrame.blocks(for: entries) * diskBlockBytes) { write(to: $0) }
  }
}

extension DocumentFrame {
  /// The frame's blocks.
  var blocks: [UInt8] {
    let bytes = changes.reduce(0) { $0 + $1.bytes.count }
    return written(DocumentFrame.byteCount(changeBytes: bytes)) { write(to: $0) }
  }
}
