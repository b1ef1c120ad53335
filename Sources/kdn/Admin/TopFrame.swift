internal import KDNControl
internal import KDNCore

/// One picture of `kdn top`: numbers of this moment, and rates since the look before.
struct TopFrame {
  private static let nameColumns = 18
  private static let barCells = 10

  private let head: [String]
  private let tiers: TopTable
  private let operations: TopTable
  private let namespaces: TopTable

  /// Draws `report`; rates are those since `before`, over the whole run without it.
  ///
  /// Percentiles are always over the whole run.
  init(_ report: DaemonReport, since before: DaemonReport?) {
    let rates = TopRates(report, since: before)
    head = Self.head(report, rates) + [Self.misses(report, before)]
    tiers = Self.tiers(report)
    operations = Self.operations(report, rates)
    namespaces = Self.namespaces(report, rates)
  }

  /// The picture in at most so many lines; what does not fit is told as a number.
  func lines(rows: Int = .max) -> [String] {
    let tables = [tiers, operations, namespaces]
    let taken = head.count + 2 * tables.count
    let shares = TopTable.shares(of: max(0, rows - taken), among: tables.map(\.rows.count))
    let parts = zip(tables, shares).map { table, share in [""] + table.lines(rows: share) }
    return Array((head + parts.joined()).prefix(rows))
  }

  private static func head(_ report: DaemonReport, _ rates: TopRates) -> [String] {
    let hits = rates.hits
    return [
      """
      kdnd \(report.version)  \(report.state.rawValue)  up \(uptime(report.uptimeSeconds))  \
      cpu \(Output.decimal(rates.cpu * 100, digits: 0)) %  \
      resident \(Text.bytes(report.process.residentBytes))  \
      connections \(report.connections.open)
      """,
      """
      in \(Text.bytes(Int(rates.received)))/s  out \(Text.bytes(Int(rates.sent)))/s  \
      requests \(Text.digits(rates.requests))/s  errors \(Text.digits(rates.errors))/s
      """,
      """
      hits \(Text.percent(hits.hits, of: hits.hits + hits.misses))  \
      evictions \(Text.digits(rates.evictions))/s  \
      leases \(report.pool.leases)  pins \(report.pool.pins)  waiting \(report.pool.waiters)
      """,
    ]
  }

  private static func tiers(_ report: DaemonReport) -> TopTable {
    let rows = report.tiers.map { tier in
      [
        tier.kind == "ram" ? "ram" : Text.tail(tier.place, columns: nameColumns), tier.state,
        bar(tier.usedBytes, tier.capacityBytes), Text.bytes(tier.usedBytes),
        Text.bytes(tier.capacityBytes), "\(tier.objects)",
      ]
    }
    return TopTable(header: ["tier", "state", "fill", "used", "of", "objects"], rows: rows)
  }

  /// Operations that were ever asked for, the busiest first.
  private static func operations(_ report: DaemonReport, _ rates: TopRates) -> TopTable {
    let busiest = report.operations.filter { $0.requestsTotal > 0 }
      .map { (operation: $0, rate: rates.requests(of: $0)) }
      .sorted {
        ($1.rate, $1.operation.requestsTotal, $0.operation.name)
          < ($0.rate, $0.operation.requestsTotal, $1.operation.name)
      }
    let rows = busiest.map { operation, rate in
      let latency = operation.latency
      return [
        Text.tail(operation.name, columns: nameColumns), Text.digits(rate),
        Text.microseconds(latency.p50Microseconds), Text.microseconds(latency.p99Microseconds),
        Text.microseconds(latency.p999Microseconds), Text.microseconds(latency.maxMicroseconds),
        "\(operation.errorsTotal.values.reduce(0, +))",
      ]
    }
    let header = ["operation", "per s", "p50", "p99", "p99.9", "most", "errors"]
    return TopTable(header: header, rows: rows)
  }

  /// Tenants, those with most in RAM first.
  private static func namespaces(_ report: DaemonReport, _ rates: TopRates) -> TopTable {
    let largest = report.namespaces.sorted { ($1.ramBytes, $0.name) < ($0.ramBytes, $1.name) }
    let rows = largest.map { namespace in
      let hits = rates.hits(of: namespace)
      return [
        Text.tail(namespace.name, columns: nameColumns), Text.bytes(namespace.ramBytes),
        namespace.limits.ramBytesMax.map { Text.bytes($0) } ?? "-",
        Text.bytes(namespace.diskBytes), "\(namespace.connections)",
        Text.digits(rates.requests(of: namespace)),
        Text.percent(hits.hits, of: hits.hits + hits.misses),
      ]
    }
    let header = ["namespace", "ram", "of", "disk", "conns", "per s", "hits"]
    return TopTable(header: header, rows: rows)
  }

  private static func misses(_ report: DaemonReport, _ before: DaemonReport?) -> String {
    let causes = report.pool.missesTotal.map { cause, count in
      (cause, TopRates.difference(count, before?.pool.missesTotal[cause]))
    }
    let shown = causes.filter { $0.1 > 0 }.sorted { ($1.1, $0.0) < ($0.1, $1.0) }
    guard !shown.isEmpty else { return "missed nothing" }
    return "missed " + shown.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
  }

  private static func bar(_ part: Int, _ whole: Int) -> String {
    let share = whole > 0 ? min(1, max(0, Double(part) / Double(whole))) : 0
    let filled = Int(share * Double(barCells))
    return "[" + String(repeating: "#", count: filled)
      + String(repeating: ".", count: barCells - filled) + "]"
  }

  private static func uptime(_ seconds: Double) -> String {
    let whole = Int(seconds)
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60)
    if days > 0 { return "\(days) d \(hours) h" }
    return hours > 0 ? "\(hours) h \(minutes) min" : "\(minutes) min \(whole % 60) s"
  }
}

/// A table of which the first rows are shown.
struct TopTable {
  let header: [String]
  let rows: [[String]]

  /// Rows for each table: what it asks for if there is room for all, else fair shares.
  static func shares(of room: Int, among wanted: [Int]) -> [Int] {
    var shares = wanted.map { _ in 0 }
    var left = room
    while left > 0, shares != wanted {
      for index in wanted.indices where shares[index] < wanted[index] && left > 0 {
        shares[index] += 1
        left -= 1
      }
    }
    return shares
  }

  /// The header and at most so many rows; the last tells how many there are behind it.
  func lines(rows limit: Int) -> [String] {
    guard rows.count > limit else { return Text.table(header, rows) }
    let shown = max(0, limit - 1)
    let rest = limit > 0 ? ["... \(rows.count - shown) more"] : []
    return Text.table(header, Array(rows.prefix(shown))) + rest
  }
}
