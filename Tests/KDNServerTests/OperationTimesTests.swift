import KDNControl
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

@Suite("The times of operations")
struct OperationTimesTests {
  @Test("report only what was asked for, with all loops together")
  func merged() throws {
    let times = OperationTimes()
    #expect(times.reports.isEmpty)
    for loop in 0..<3 {
      times[loop: loop].count(.get, .ok, nanoseconds: UInt64(loop + 1) * 1_000_000)
    }
    times[loop: 1].count(.get, .busy, nanoseconds: 4_000_000)
    times[loop: 2].count(.get, .busy, nanoseconds: 5_000_000)
    times[loop: 0].count(.exists, .overQuota, nanoseconds: 1)
    times[loop: 0].count(.document, .ok, nanoseconds: 1)
    let reports = times.reports
    #expect(reports.map(\.name) == ["EXISTS", "GET", "DOCUMENT"])
    let get = try #require(reports.first { $0.name == "GET" })
    #expect(get.requestsTotal == 5)
    #expect(get.errorsTotal == ["busy": 2])
    #expect(get.latency.count == 5)
    #expect(get.latency.sumMicroseconds == 15_000)
    #expect(get.latency.maxMicroseconds == 5_000)
    #expect((2_970...3_030).contains(get.latency.p50Microseconds))
    #expect(reports[0].errorsTotal == ["over_quota": 1])
  }

  @Test("a time exactly on a bound falls under it, a nanosecond more into the next bucket")
  func bounds() throws {
    for (index, bound) in LatencyReport.bucketMicroseconds.enumerated() {
      let times = OperationTimes()
      times[loop: 0].count(.match, .ok, nanoseconds: bound * 1000)
      times[loop: 0].count(.match, .ok, nanoseconds: bound * 1000 + 1)
      let counts = try #require(times.reports.first).latency.bucketCounts
      #expect(counts.count == LatencyReport.bucketMicroseconds.count + 1)
      #expect(counts[index] == 1)
      #expect(counts[index + 1] == 2)
      #expect(index == 0 || counts[index - 1] == 0)
    }
  }

  @Test("buckets only grow and end in the count; percentiles are right to a hundredth")
  func distribution() throws {
    var random = SeededGenerator(seed: 11)
    let times = OperationTimes()
    var all: [UInt64] = []
    for _ in 0..<20_000 {
      let nanoseconds = UInt64(exp2(Double.random(in: 10...33, using: &random)))
      all.append(nanoseconds)
      times[loop: Int.random(in: 0..<4, using: &random)].count(.get, .ok, nanoseconds: nanoseconds)
    }
    all.sort()
    let latency = try #require(times.reports.first).latency
    #expect(latency.bucketCounts == latency.bucketCounts.sorted())
    #expect(latency.bucketCounts.last == 20_000)
    for (index, bound) in LatencyReport.bucketMicroseconds.enumerated() {
      #expect(latency.bucketCounts[index] == UInt64(all.filter { $0 <= bound * 1000 }.count))
    }
    let percentiles = [
      (50.0, latency.p50Microseconds), (90, latency.p90Microseconds), (99, latency.p99Microseconds),
      (99.9, latency.p999Microseconds),
    ]
    for (percent, found) in percentiles {
      let exact = Double(all[Int(percent / 100 * 20_000) - 1]) / 1000
      #expect(abs(Double(found) - exact) <= exact * 0.02 + 1, "p\(percent)")
    }
    #expect(latency.maxMicroseconds == (all[19_999] + 999) / 1000)
  }

  @Test("a time beyond all bounds is counted, and sums do not overflow")
  func extremes() throws {
    let times = OperationTimes()
    times[loop: 0].count(.purge, .deadline, nanoseconds: .max)
    times[loop: 0].count(.purge, .deadline, nanoseconds: .max)
    let report = try #require(times.reports.first)
    #expect(report.requestsTotal == 2)
    #expect(report.latency.bucketCounts.last == 2)
    #expect(report.latency.bucketCounts.dropLast().last == 0)
  }
}

private func exp2(_ power: Double) -> Double {
  var result = 1.0
  for _ in 0..<Int(power) { result *= 2 }
  return result * (1 + power - power.rounded(.down))
}
