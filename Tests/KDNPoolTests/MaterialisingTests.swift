import KDNCore
import KDNTier
import Testing

@testable import KDNPool

/// Chunks that are kept as edits make them, with what comes between.
@Suite struct MaterialisingTests {
  /// Adds one to each byte of a chunk that has a marked token.
  private struct Adding: ChunkEditor {
    let marked: TokenSpans

    func changes(_ tokens: Range<Int>) -> Bool {
      marked.ranges.contains { $0.overlaps(tokens) }
    }

    func edit(
      _ source: RawSpan, of part: Part, tokens: Range<Int>, into edited: inout MutableRawSpan
    ) {
      let added: UInt8 = changes(tokens) ? 1 : 0
      for place in 0..<source.byteCount {
        let byte = source.unsafeLoad(fromByteOffset: place, as: UInt8.self) &+ added
        edited.storeBytes(of: byte, toByteOffset: place, as: UInt8.self)
      }
    }
  }

  /// Codec 3 where a class is asked for.
  private struct Former: DocumentFormer {
    func form(of document: PublishedDocument, _ geometry: LayoutGeometry) -> EditedForm? {
      var marked = TokenSpans.none
      var codec: UInt8 = 0
      var name: [UInt8] = []
      for edit in document.edits {
        name += "\(edit.operation)".utf8
        switch edit.operation {
        case .scaleKeys(_, let spans): marked = marked.union(spans)
        case .requantise: codec = 3
        default: break
        }
      }
      return EditedForm(
        recipe: HashChain.opaque(name), codec: codec, editor: Adding(marked: marked))
    }
  }

  /// Three chunks, the first of which is edited.
  private struct Site {
    let blends: BlendFixture
    let coder = ScriptedCoder()
    let encoding = ManualExecutor()
    let decoding = ManualExecutor()
    let serving = Box(false)

    init() throws {
      blends = try BlendFixture()
      var settings = CodingSettings()
      settings.isServing = { [serving] in serving.value }
      blends.pool.startCoding(
        coder, decoding: decoding, encoding: encoding, settings: settings)
      blends.pool.startEditing(Former())
      try blends.learn(1, tokens: 40)
    }

    var tenant: Namespace { blends.fixture.tenant }

    func edit(_ operation: EditOperation) {
      blends.pool.edit(document: "document 1", epoch: 0, operation, in: tenant) { _ in }
    }

    func mark() throws { edit(.scaleKeys(1.5, try TokenSpans([3..<4]))) }

    @discardableResult
    func order() throws -> Materialised {
      try blends.pool.materialise(document: "document 1", in: tenant)
    }

    var material: Materialised? {
      blends.pool.materialised(document: "document 1", in: tenant)
    }

    /// Keys of what is kept.
    func kept() throws -> [ObjectKey] {
      try blends.pool.objects(in: tenant, after: nil, limit: 100).objects.map(\.key)
        .filter(\.isEdited)
    }

    /// A blend of the document, edited.
    func order(named name: String) throws -> BlendOrder {
      let document = try #require(blends.pool.published(document: "document 1", in: tenant))
      let piece = BlendOrder.Piece(
        document, kept: [0..<40], form: blends.pool.editedForm(of: document, in: tenant))
      return BlendOrder(
        hash: HashChain.opaque(Array(name.utf8)), layout: blends.layout.id,
        layers: try BlendLayer.layers(of: blends.layout), pieces: [piece],
        writer: BlendFixture.Copying(pieces: [piece]))
    }

    /// The bytes of a blend that is assembled now.
    func compose(_ name: String) throws -> [[UInt8]] {
      let order = try order(named: name)
      let answer = blends.compose(order)
      for _ in 0..<3 {
        blends.executor.runAll()
        decoding.runAll()
      }
      #expect(answer.value == .begun)
      return try (0..<3).map { try blends.layer($0, of: order).get() }
    }
  }

  @Test func nothingIsBegunWhileRequestsWait() throws {
    let site = try Site()
    try site.mark()
    site.serving.set(true)
    #expect(try site.order().state == .running)
    site.encoding.runAll()
    #expect(site.material == Materialised(.running, total: 1, kept: 0))
    #expect(try site.kept().isEmpty)
    site.serving.set(false)
    site.blends.pool.tick(now: site.blends.fixture.clock.now())
    site.encoding.runAll()
    #expect(site.material == Materialised(.whole, total: 1, kept: 1))
    #expect(try site.kept().count == 1)
  }

  @Test func theBytesAreTheSameWithAndWithout() throws {
    let site = try Site()
    try site.mark()
    site.edit(.requantise(.small))
    let made = try site.compose("first")
    try site.order()
    site.encoding.runAll()
    #expect(site.material == Materialised(.whole, total: 3, kept: 3))
    #expect(site.blends.statistics.edited == 3 && site.blends.statistics.editedKept == 0)
    #expect(try site.compose("second") == made)
    #expect(site.blends.statistics.edited == 3 && site.blends.statistics.editedKept == 3)
    // One of three is gone: it alone is edited on the way.
    site.blends.pool.purge(.keys([try #require(try site.kept().first)]), in: site.tenant) { _ in }
    #expect(site.material == Materialised(.onDelivery, total: 3, kept: 2))
    #expect(try site.compose("third") == made)
    #expect(site.blends.statistics.edited == 4 && site.blends.statistics.editedKept == 5)
    #expect(site.blends.statistics.materialised == 3)
  }

  @Test func anEditInTheMiddleOfAnEncodingLeavesNothingBehind() throws {
    let site = try Site()
    site.edit(.requantise(.small))
    site.coder.set { $0.onEncode = { try? site.mark() } }
    try site.order()
    site.encoding.runAll()
    #expect(try site.kept().isEmpty)
    #expect(site.material == Materialised(.onDelivery, total: 3, kept: 0))
    try site.order()
    site.encoding.runAll()
    #expect(site.material?.state == .whole)
  }

  @Test func aChunkThatIsPurgedMeanwhileLeavesNothingBehind() throws {
    let site = try Site()
    site.edit(.requantise(.small))
    let (pool, tenant, key) = (site.blends.pool, site.tenant, site.blends.key(1, 0))
    site.coder.set { $0.onEncode = { pool.purge(.keys([key]), in: tenant) { _ in } } }
    try site.order()
    site.encoding.runAll()
    #expect(try site.kept().isEmpty)
    #expect(site.material == Materialised(.onDelivery, total: 2, kept: 0))
  }

  @Test func anotherProfileInTheMiddleIsNoBlend() throws {
    let site = try Site()
    let first = CodecProfileUse.inUse(HashChain.opaque([1]))
    site.coder.set { $0.profile = first }
    site.edit(.requantise(.small))
    let order = try site.order(named: "blend")
    site.coder.set { state in
      state.onEncode = { [coder = site.coder] in
        coder.set { $0.profile = .inUse(HashChain.opaque([2])) }
      }
    }
    let answer = site.blends.compose(order)
    site.blends.executor.runAll()
    #expect(answer.value == .refused(.unedited(piece: 0, isForNow: true)))
    #expect(site.blends.present(order).isEmpty)
  }

  @Test func whatCannotBeEncodedIsNoBlend() throws {
    let site = try Site()
    site.edit(.requantise(.small))
    site.coder.set { $0.fault = .fails }
    let answer = site.blends.compose(try site.order(named: "blend"))
    site.blends.executor.runAll()
    #expect(answer.value == .refused(.unedited(piece: 0, isForNow: false)))
    site.coder.set { $0.fault = .declines }
    // What does not pay is delivered as it is.
    let bytes = try site.compose("again")
    let again = try site.order(named: "again")
    #expect(bytes[0] == site.blends.expected(again, layer: 0, numbers: [1]))
  }

  @Test func eightDocumentsAreMadeAtATime() throws {
    let site = try Site()
    for number in 2..<10 {
      try site.blends.learn(number, tokens: 8)
      site.blends.pool.edit(
        document: "document \(number)", epoch: 0, .requantise(.small), in: site.tenant
      ) { _ in }
      _ = try site.blends.pool.materialise(document: "document \(number)", in: site.tenant)
    }
    site.edit(.requantise(.small))
    let limit = FieldFault("orders", value: 8, limit: 8, "too many are carried out")
    #expect(throws: PoolRefusal.limit(limit)) { try site.order() }
    site.encoding.runAll()
    try site.order()
    site.encoding.runAll()
    #expect(site.material?.state == .whole)
  }
}
