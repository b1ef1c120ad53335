import KDNControl
import Testing

@testable import KDNAdmin

@Suite struct HistoryLatencyTests {
  @Test(arguments: [(0.5, 37.5), (0.9, 47.5), (1.0, 50.0)])
  func aPercentileIsLinearWithinItsBucket(share: Double, expected: Double) {
    // All of ten requests took 25 to 50 microseconds.
    let times = LatencyInterval(from: nil, to: .cumulative([0, 0, 10]))
    #expect(times.microseconds(at: share) == expected)
  }

  @Test func requestsBeforeTheIntervalDoNotCount() {
    let before = LatencyReport.cumulative([100])
    let now = LatencyReport.cumulative([100, 100, 100, 104])
    let median = LatencyInterval(from: before, to: now).microseconds(at: 0.5)
    #expect(median == 75)
  }

  @Test func withoutRequestsThereIsNoPercentile() {
    let report = LatencyReport.cumulative([3, 4])
    #expect(LatencyInterval(from: report, to: report).microseconds(at: 0.99) == nil)
    #expect(LatencyInterval(from: nil, to: .cumulative([])).microseconds(at: 0.5) == nil)
  }

  @Test func whatExceedsEveryBoundIsTheLastBound() {
    var report = LatencyReport.cumulative([])
    report.bucketCounts[report.bucketCounts.count - 1] = 5
    #expect(LatencyInterval(from: nil, to: report).microseconds(at: 0.5) == 10_000_000)
  }
}
