import KDNControl
import Testing

@testable import KDNAdmin

@Suite struct HistoryTests {
  @Test func theFirstReportAloneIsNoSample() {
    let history = History()
    history.record(.sample(second: 10))
    #expect(history.columns().unixMilliseconds.isEmpty)
  }

  @Test func ratesAreOfTheTimeBetweenTwoReports() {
    let columns = recorded(
      .sample(second: 10, sentBytes: 1000, requests: ["GET": 5]),
      .sample(second: 14, sentBytes: 9000, requests: ["GET": 25, "EXISTS": 2]))
    #expect(columns.unixMilliseconds == [14_000])
    #expect(columns["bytes_per_second", "sent"] == [2000])
    #expect(columns["requests_per_second", "GET"] == [5])
    #expect(columns["requests_per_second", "EXISTS"] == [0.5])
  }

  @Test func theHitRatioCountsOnlyLookupsOfTheInterval() {
    let columns = recorded(
      .sample(second: 1, ramHits: 1000, misses: ["evicted": 9000]),
      .sample(second: 2, ramHits: 1003, misses: ["evicted": 9001]))
    #expect(columns["hit_ratio", "ram"] == [0.75])
    #expect(columns["misses_per_second", "evicted"] == [1])
  }

  @Test func anIntervalWithoutLookupsHasNoHitRatio() {
    let columns = recorded(
      .sample(second: 1, ramHits: 5), .sample(second: 2, ramHits: 5),
      .sample(second: 3, ramHits: 6))
    #expect(columns["hit_ratio", "ram"] == [nil, 1])
  }

  @Test func countersThatSeemToFallAreNoNegativeRates() {
    let columns = recorded(.sample(second: 1, sentBytes: 900), .sample(second: 2, sentBytes: 800))
    #expect(columns["bytes_per_second", "sent"] == [0])
  }

  @Test func onlySamplesAfterATimeAreAnswered() {
    let history = History()
    for second in 0...5 { history.record(.sample(second: Double(second))) }
    #expect(history.columns(since: 3000).unixMilliseconds == [4000, 5000])
    #expect(history.columns(since: 5000).columns.isEmpty)
  }

  @Test func theOldestSamplesGiveWay() {
    let history = History(capacity: 3)
    for second in 0...7 {
      history.record(.sample(second: Double(second), sentBytes: UInt64(second * second)))
    }
    let columns = history.columns()
    #expect(columns.unixMilliseconds == [5000, 6000, 7000])
    #expect(columns["bytes_per_second", "sent"] == [9, 11, 13])
  }

  @Test func aLineThatAppearsLateIsUnknownBefore() {
    let columns = recorded(
      .sample(second: 1), .sample(second: 2), .sample(second: 3, requests: ["PIN": 1]))
    #expect(columns["requests_per_second", "PIN"] == [nil, 1])
  }

  @Test func timesGrowEvenIfTheClockIsSetBack() {
    var late = DaemonReport.sample(second: 3)
    late.unixMilliseconds = 500
    let columns = recorded(.sample(second: 1), .sample(second: 2), late)
    #expect(columns.unixMilliseconds == [2000, 2001])
  }

  @Test func aReportOfTheSameMomentIsNoSample() {
    #expect(recorded(.sample(second: 1), .sample(second: 1)).unixMilliseconds.isEmpty)
  }

  @Test func linesBeyondTheLimitAreNotKept() {
    var ring = HistoryRing(capacity: 2)
    let names = (0..<HistoryRing.seriesMax + 40).map { HistorySeries(.errorsPerSecond, "\($0)") }
    ring.append(Dictionary(uniqueKeysWithValues: names.map { ($0, 1) }), at: 1)
    #expect(ring.columns(since: 0, every: 2000).columns.count == HistoryRing.seriesMax)
  }

  @Test func whatIsUnknownIsNullInJSON() throws {
    let columns = recorded(
      .sample(second: 1), .sample(second: 2), .sample(second: 3, requests: ["PUT_COMMIT": 3]))
    let text = String(decoding: ControlJSON.encode(columns), as: UTF8.self)
    #expect(text.contains(#""label":"PUT_COMMIT","name":"requests_per_second","values":[null,3]"#))
    #expect(text.contains(#""interval_milliseconds":2000"#))
  }

  private func recorded(_ reports: DaemonReport...) -> HistoryColumns {
    let history = History()
    for report in reports { history.record(report) }
    return history.columns()
  }
}

extension HistoryColumns {
  fileprivate subscript(name: String, label: String) -> [Float?]? {
    columns.first { $0.name == name && $0.label == label }?.values
  }
}
