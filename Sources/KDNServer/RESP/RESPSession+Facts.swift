internal import Glibc
internal import KDNControl
internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// SCAN and INFO.
extension RESPSession {
  /// Most names that one SCAN looks at.
  private static let scanCountMax = 10_000

  /// SCAN: names that were heard of since the start and whose objects are still here.
  func scan(_ scan: RESPScan, _ login: RESPLogin) {
    let glob = scan.pattern.map { RESPGlob($0) }
    let page = login.keyspace.page(
      from: scan.cursor, count: min(scan.count, Self.scanCountMax))
    var names: [[UInt8]] = []
    for name in page.names {
      guard context.pool.contains(Self.key(name), in: login.namespace) else {
        login.keyspace.forget(name)
        continue
      }
      guard glob?.matches(name) ?? true, scan.type ?? "string" == "string" else { continue }
      names.append(name)
    }
    let encoder = conversation.encoder
    replies.write { writer in
      encoder.arrayHeader(count: 2, to: &writer)
      encoder.bulk("\(page.next)", to: &writer)
      encoder.arrayHeader(count: names.count, to: &writer)
      for name in names { encoder.bulk(name, to: &writer) }
    }
  }

  /// INFO: what a client may know of its own namespace and of the daemon.
  func tell(_ sections: [String], _ login: RESPLogin) {
    let counters = context.counters.snapshot
    let share = context.pool.share(of: login.namespace)
    let count = context.pool.count(of: login.namespace)
    let hits = login.keyspace.counts
    var info = RESPInfo()
    info.version = Version.text
    info.processID = getpid()
    info.port = port
    info.uptimeSeconds = context.report.uptimeWholeSeconds
    info.clients = login.gate.counters.openConnections
    info.clientsMax = context.connectionsMax
    info.usedBytes = UInt64(share.ramBytes)
    info.bytesMax = UInt64(
      share.limits.ramBytesMax ?? context.pool.configuration.memoryBytesMax)
    info.connectionsTotal = counters.acceptedTotal
    info.commandsTotal = share.counts.requests
    info.hitsTotal = hits.hits
    info.missesTotal = hits.misses
    info.evictedTotal = share.counts.evictions
    info.keys = count.objects
    let encoder = conversation.encoder
    replies.write { encoder.text(info.text(sections: sections), to: &$0) }
  }
}

/// Where the time goes.
extension RESPSession {
  /// Counts a command that is answered, in the terms of native operations.
  func count(
    _ operation: Operation, _ status: Status, since arrival: Instant, now: Instant, items: Int = 1,
    bytes: Int = 0, diskNanoseconds: UInt64 = 0
  ) {
    let nanoseconds = now.nanoseconds(since: arrival)
    times.count(operation, status, nanoseconds: nanoseconds)
    guard context.slowLog.isSlow(nanoseconds: nanoseconds), let login else { return }
    let wallTime = SystemWallClock().milliseconds()
    context.slowLog.note(
      SlowRequest(
        operation: operation.name, namespace: login.namespace.name.text,
        connection: owner.number,
        unixMilliseconds: wallTime - min(wallTime, nanoseconds / 1_000_000), items: items,
        bytes: bytes, status: status.name, totalMicroseconds: nanoseconds / 1000,
        waitMicroseconds: 0, diskMicroseconds: diskNanoseconds / 1000))
  }
}
