import KDNControl
import Testing

@testable import kdn

@Suite struct TopFrameTests {
  @Test(
    "a crowded daemon fits a terminal of 80 columns",
    arguments: [(24, 5, 20, 30), (24, 1, 2, 1), (50, 9, 20, 90), (10, 9, 20, 30), (2, 1, 1, 1)])
  func fits(rows: Int, tiers: Int, operations: Int, tenants: Int) {
    let report = Reports.busy(
      seconds: 90, tiers: tiers, operations: operations, tenants: tenants)
    let lines = TopFrame(report, since: nil).lines(rows: rows - 1)
    #expect(lines.count <= rows - 1)
    #expect(lines.allSatisfy { $0.count <= 80 }, "\(lines)")
  }

  @Test("what does not fit is counted")
  func rest() {
    let report = Reports.busy(seconds: 90, tiers: 1, operations: 20, tenants: 30)
    let lines = TopFrame(report, since: nil).lines(rows: 23)
    #expect(lines.count == 23)
    let told = lines.filter { $0.hasPrefix("... ") }.compactMap { Int($0.split(separator: " ")[1]) }
    let shown = lines.count { $0.hasPrefix("OPERATION") || $0.contains("is-long") }
    #expect(told.reduce(shown, +) == 50)
  }

  @Test("without a terminal all of it is shown")
  func everything() {
    let report = Reports.busy(seconds: 90, tiers: 3, operations: 20, tenants: 30)
    let lines = TopFrame(report, since: nil).lines()
    #expect(lines.count == 4 + 3 * 2 + 3 + 20 + 30)
  }

  @Test("rates are those since the look before, of one core's time too")
  func rates() {
    let before = Reports.busy(seconds: 100)
    let lines = TopFrame(Reports.busy(seconds: 102), since: before).lines()
    #expect(lines[0].contains("up 1 min 42 s  cpu 50 %  resident 3.00 GiB  connections 9"))
    #expect(lines[1] == "in 200 MiB/s  out 400 MiB/s  requests 200/s  errors 0.00/s")
    #expect(lines[2] == "hits 75.0 %  evictions 25.0/s  leases 2  pins 3  waiting 4")
    #expect(lines[3] == "missed evicted 50")
    #expect(lines.contains { $0.hasPrefix("OPERATION_1") && $0.contains(" 100  150 µs") })
  }

  @Test("a daemon that was started anew counts from its start")
  func restart() {
    let rates = TopRates(Reports.busy(seconds: 10), since: Reports.busy(seconds: 1000))
    #expect(rates.requests == 200)
    #expect(rates.cpu == 0.5)
  }

  @Test("two looks at the same moment give numbers, too")
  func sameMoment() {
    let report = Reports.busy(seconds: 10)
    #expect(TopRates(report, since: report).requests.isFinite)
  }

  @Test("operations that nobody asked for are not shown")
  func unused() {
    let lines = TopFrame(Reports.busy(seconds: 10), since: nil).lines()
    #expect(!lines.contains { $0.contains("OPERATION_99") })
  }

  @Test(
    "room is shared fairly",
    arguments: [
      (14, [1, 20, 30], [1, 7, 6]), (100, [1, 2, 3], [1, 2, 3]), (0, [1, 2, 3], [0, 0, 0]),
      (2, [5, 5, 5], [1, 1, 0]),
    ])
  func shares(room: Int, wanted: [Int], given: [Int]) {
    #expect(TopTable.shares(of: room, among: wanted) == given)
  }
}
