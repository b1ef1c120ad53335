import KDNCore
import Testing

@testable import KDNTier

@Suite("A check tells how far it is")
struct CheckProgressTests {
  /// What a check of two sealed segments, one that was open, and an empty one tells.
  private static func steps(readsPayloads: Bool) throws -> [(done: Int, total: Int)] {
    var log = LogBuilder()
    log.segment([try LogBuilder.object("a"), try LogBuilder.object("b")])
    log.segment([try LogBuilder.object("c")])
    log.segment([try LogBuilder.object("d")], sealed: false)
    log.segment([])
    var steps: [(done: Int, total: Int)] = []
    _ = try LogCheck.report(
      on: log.storage, readsPayloads: readsPayloads, nowMilliseconds: LogBuilder.now
    ) { steps.append(($0, $1)) }
    return steps
  }

  @Test("from record to record it grows, and ends at all bytes of segments")
  func grows() throws {
    let steps = try Self.steps(readsPayloads: true)
    #expect(steps.count == 4 + 4, "each record and each segment")
    #expect(steps.allSatisfy { $0.total == 4 * LogBuilder.segmentBytes && $0.done > 0 })
    #expect(zip(steps, steps.dropFirst()).allSatisfy { $0.done <= $1.done })
    #expect(steps.last?.done == 4 * LogBuilder.segmentBytes)
  }

  @Test("without payloads it goes by segments, but for records of the open one")
  func bySegments() throws {
    let steps = try Self.steps(readsPayloads: false)
    let ends = (1...4).map { $0 * LogBuilder.segmentBytes }
    #expect(steps.map(\.done).filter(ends.contains) == ends)
    #expect(steps.count == 4 + 1)
  }
}
