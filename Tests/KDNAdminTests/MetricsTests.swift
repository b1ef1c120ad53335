import Foundation
import KDNControl
import Testing

@testable import KDNAdmin

@Suite struct MetricsTests {
  private let facts = MetricsFacts(
    report: .full(),
    readiness: ReadinessReport(
      isReady: true, checks: [.init(name: "disk", isOK: true, detail: "serves")]),
    connectionsMax: 1024, startedSeconds: 1_700_000_000)

  private var golden: URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Vectors/metrics.prom")
  }

  @Test func theTextIsAlwaysTheSameForTheSameFacts() throws {
    let expected = try String(contentsOf: golden, encoding: .utf8)
    #expect(facts.text.split(separator: "\n") == expected.split(separator: "\n"))
    #expect(facts.text == facts.text)
  }

  @Test func everyFamilyHasOneHeadAndItsSamplesFollow() throws {
    var seen: Set<Substring> = []
    var family: Substring = ""
    for line in facts.text.split(separator: "\n") {
      let words = line.split(separator: " ")
      if line.hasPrefix("# HELP ") {
        family = words[2]
        #expect(seen.insert(family).inserted, "\(family) comes twice")
      } else if line.hasPrefix("# TYPE ") {
        #expect(words[2] == family)
        #expect((words[3] == "counter") == family.hasSuffix("_total"), "\(family)")
      } else {
        #expect(line.hasPrefix(family))
      }
    }
    #expect(seen.count > 100)
  }

  @Test(arguments: [
    (0, "0"), (10, "0.00001"), (1_000_000, "1"), (2_500_000, "2.5"), (123_456_789, "123.456789"),
  ])
  func microsecondsAreWrittenExactly(microseconds: UInt64, text: String) {
    #expect(MetricsText.seconds(microseconds) == text)
  }
}
