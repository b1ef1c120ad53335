import KDNCore
import Testing

@testable import KDNPool

struct BlendAssemblyTests {
  /// The machine behind a reference: expectations cannot change values.
  private final class Steps {
    private var assembly: BlendAssembly

    init(layerCount: Int, writersMax: Int) {
      assembly = BlendAssembly(layerCount: layerCount, writersMax: writersMax)
    }

    var phase: BlendAssembly.Phase { assembly.phase }
    var published: Int { assembly.published }
    var isOver: Bool { assembly.isOver }
    func begin() -> Bool { assembly.begin() }
    func nextLayer() -> Int? { assembly.nextLayer() }
    func end() -> Bool { assembly.end() }
    func fail(_ cause: MissCause) -> Bool { assembly.fail(cause) }
  }

  @Test func nothingIsWrittenBeforeChunksAndRoomAreThere() {
    let assembly = Steps(layerCount: 2, writersMax: 1)
    #expect(assembly.nextLayer() == nil)
    #expect(assembly.begin())
    #expect(assembly.nextLayer() == 0)
  }

  @Test(arguments: 1...5, 1...6)
  func layersAreBegunInOrderAndAsManyAtATimeAsMayBe(layers: Int, writers: Int) {
    let assembly = Steps(layerCount: layers, writersMax: writers)
    #expect(assembly.begin())
    var begun: [Int] = []
    var open = 0
    while assembly.phase != .done {
      while let layer = assembly.nextLayer() {
        begun.append(layer)
        open += 1
      }
      #expect(open == min(writers, layers - assembly.published))
      #expect(!assembly.isOver)
      #expect(assembly.end())
      open -= 1
    }
    #expect(begun == Array(0..<layers))
    #expect(assembly.published == layers)
    #expect(assembly.isOver)
  }

  @Test func aFailureStopsWhatWasNotBegunAndWaitsForWhatWas() {
    let assembly = Steps(layerCount: 4, writersMax: 2)
    #expect(assembly.begin())
    #expect(assembly.nextLayer() == 0)
    #expect(assembly.nextLayer() == 1)
    #expect(assembly.end())
    #expect(assembly.fail(.purged))
    #expect(assembly.nextLayer() == nil)
    #expect(!assembly.isOver)
    #expect(!assembly.end())
    #expect(assembly.isOver)
    #expect(assembly.phase == .failed(.purged))
    #expect(assembly.published == 1)
  }

  @Test func whatHasFailedDoesNotBegin() {
    let assembly = Steps(layerCount: 1, writersMax: 1)
    #expect(assembly.fail(.evicted))
    #expect(!assembly.begin())
    #expect(assembly.nextLayer() == nil)
    #expect(assembly.isOver)
    #expect(assembly.phase == .failed(.evicted))
  }

  @Test func theFirstFailureCountsAndNoneAfterTheEnd() {
    let assembly = Steps(layerCount: 1, writersMax: 1)
    #expect(assembly.fail(.purged))
    #expect(!assembly.fail(.notReady))
    #expect(assembly.phase == .failed(.purged))
    let done = Steps(layerCount: 1, writersMax: 1)
    #expect(done.begin())
    #expect(done.nextLayer() == 0)
    #expect(done.end())
    #expect(!done.fail(.purged))
    #expect(done.phase == .done)
  }
}

struct BlendCoverTests {
  private let layers = [0, 1, 3].map {
    BlendLayer(number: $0, kvHeads: 4, planeBytesPerToken: 8, group: 0)
  }

  private func part(_ layers: Range<Int>, _ heads: Range<Int>) -> Part {
    Part(
      firstLayer: UInt16(layers.lowerBound), layerCount: UInt16(layers.count),
      firstKVHead: UInt16(heads.lowerBound), kvHeadCount: UInt16(heads.count))
  }

  @Test func theWholePartIsEnough() throws {
    let whole = part(0..<4, 0..<4)
    let cover = try #require(BlendCover(layers, among: [whole, part(0..<4, 0..<2)]))
    #expect(cover.parts == [whole])
    #expect(cover.slices == Array(repeating: [BlendCover.Slice(part: 0, heads: 0..<4)], count: 3))
  }

  @Test func partsOfHeadsAndLayersAreJoined() throws {
    let parts = [
      part(0..<2, 0..<2), part(0..<2, 2..<4), part(2..<4, 0..<3), part(2..<4, 1..<4),
    ]
    let cover = try #require(BlendCover(layers, among: parts))
    #expect(cover.parts == parts)
    let halves = [
      BlendCover.Slice(part: 0, heads: 0..<2), BlendCover.Slice(part: 1, heads: 2..<4),
    ]
    #expect(cover.slices[0] == halves && cover.slices[1] == halves)
    #expect(
      cover.slices[2]
        == [BlendCover.Slice(part: 2, heads: 0..<3), BlendCover.Slice(part: 3, heads: 3..<4)])
  }

  @Test func aHeadOrLayerThatNobodyHasLeavesNoCover() {
    #expect(BlendCover(layers, among: []) == nil)
    #expect(BlendCover(layers, among: [part(0..<4, 0..<2), part(0..<4, 3..<4)]) == nil)
    #expect(BlendCover(layers, among: [part(0..<3, 0..<4)]) == nil)
  }
}
