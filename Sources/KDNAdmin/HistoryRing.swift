/// The newest samples of a bounded number of lines, the oldest overwritten first.
package struct HistoryRing: Sendable {
  /// Most lines that are kept; further ones are not recorded.
  ///
  /// Operations, causes, statuses, links and percentiles together make about 90.
  package static let seriesMax = 128

  private let capacity: Int
  private var times: [UInt64] = []
  private var oldest = 0
  /// In the order in which the lines appeared; each as long as `times`, NaN where nothing is known.
  private var series: [HistorySeries] = []
  private var values: [HistorySeries: [Float]] = [:]

  /// Makes room for `capacity` samples, at least 1.
  package init(capacity: Int) {
    precondition(capacity > 0, "a history of \(capacity) samples")
    self.capacity = capacity
    times.reserveCapacity(capacity)
  }

  /// Samples that are kept.
  package var count: Int { times.count }

  /// Adds a sample; its time is moved if the clock was set back, so that times only grow.
  package mutating func append(_ sample: [HistorySeries: Float], at unixMilliseconds: UInt64) {
    let newest = times.isEmpty ? 0 : times[(oldest + times.count - 1) % times.count]
    let time = max(unixMilliseconds, newest + 1)
    for line in sample.keys.sorted(by: Self.inOrder) where values[line] == nil {
      guard series.count < Self.seriesMax else { break }
      series.append(line)
      values[line] = Array(repeating: .nan, count: times.count)
    }
    if times.count < capacity {
      times.append(time)
      for line in series { values[line]?.append(sample[line] ?? .nan) }
    } else {
      times[oldest] = time
      for line in series { values[line]?[oldest] = sample[line] ?? .nan }
      oldest = (oldest + 1) % capacity
    }
  }

  /// The samples after a time, oldest first; lines of which nothing is known there are left out.
  package func columns(since unixMilliseconds: UInt64, every interval: UInt64) -> HistoryColumns {
    let order = (0..<times.count).map { (oldest + $0) % times.count }
      .drop { times[$0] <= unixMilliseconds }
    return HistoryColumns(
      intervalMilliseconds: interval, unixMilliseconds: order.map { times[$0] },
      columns: series.compactMap { line in
        guard let kept = values[line] else { return nil }
        let shown = order.map { kept[$0].isFinite ? kept[$0] : nil }
        guard shown.contains(where: { $0 != nil }) else { return nil }
        return .init(name: line.name.rawValue, label: line.label, values: shown)
      })
  }

  private static func inOrder(_ left: HistorySeries, _ right: HistorySeries) -> Bool {
    (left.name.rawValue, left.label) < (right.name.rawValue, right.label)
  }
}
