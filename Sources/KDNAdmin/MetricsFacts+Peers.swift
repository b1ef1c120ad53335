internal import KDNControl

extension MetricsFacts {
  /// Connections, all together and by kind of link.
  func addConnections(to text: inout MetricsText) {
    let connections = report.connections
    text.single("kdn_connections_open", .gauge, "Connections of clients.", connections.open)
    if let connectionsMax {
      text.single("kdn_connections_max", .gauge, "Most connections allowed.", connectionsMax)
    }
    text.single(
      "kdn_open_transfers", .gauge, "Transfers under way.", connections.openTransfers)
    text.single("kdn_waiting_gets", .gauge, "Reads that wait.", connections.waitingGets)
    let counters: [(String, String, UInt64)] = [
      ("accepted", "Connections accepted.", connections.acceptedTotal),
      ("refused", "Connections refused.", connections.refusedTotal),
      ("timed_out", "Connections closed because they took too long.", connections.timedOutTotal),
      ("framing_faults", "Connections closed for malformed bytes.", connections.framingFaultsTotal),
      ("unauthorised", "Connections closed for a wrong token.", connections.unauthorisedTotal),
    ]
    for (name, help, value) in counters {
      text.single("kdn_connections_\(name)_total", .counter, help, value)
    }
    text.single(
      "kdn_received_bytes_total", .counter, "Bytes from clients.", connections.receivedBytesTotal)
    text.single("kdn_sent_bytes_total", .counter, "Bytes to clients.", connections.sentBytesTotal)
    text.begin("kdn_link_connections", .gauge, "Connections by kind of link.")
    for link in report.links { text.add(link.open, ("link", link.kind)) }
    let links: [(String, String, KeyPath<LinkReport, UInt64>)] = [
      ("accepted", "Connections accepted.", \.acceptedTotal),
      ("received_bytes", "Bytes from clients.", \.receivedBytesTotal),
      ("sent_bytes", "Bytes to clients.", \.sentBytesTotal),
      ("copied_bytes", "Payload that the processor moved.", \.copiedBytesTotal),
      ("hashed_bytes", "Payload of which a checksum was taken.", \.hashedBytesTotal),
      ("handshake_failures", "TLS handshakes that failed.", \.handshakeFailuresTotal),
    ]
    for (name, help, path) in links {
      text.begin("kdn_link_\(name)_total", .counter, help)
      for link in report.links { text.add(link[keyPath: path], ("link", link.kind)) }
    }
  }

  /// Memory that clients on this host share.
  func addSharedMemory(_ shared: SharedMemoryReport, to text: inout MetricsText) {
    text.begin("kdn_shared_memory_offered", .gauge, "Whether memory is shared with clients.")
    text.add(shared.offered)
    let gauges: [(String, String, KeyPath<SharedMemoryReport, Int>)] = [
      ("leases", "Answers read in place.", \.leases),
      ("leased_bytes", "Bytes of them, once for each.", \.leasedBytes),
      ("windows", "Windows that clients write.", \.windows),
      ("window_bytes", "Bytes of them.", \.windowBytes),
      ("window_limit_bytes", "Most bytes of them.", \.windowBytesMax),
      ("stranded_bytes", "Bytes that only clients hold any more.", \.strandedBytes),
    ]
    for (name, help, path) in gauges {
      text.single("kdn_shared_memory_\(name)", .gauge, help, shared[keyPath: path])
    }
    text.single(
      "kdn_shared_memory_refused_total", .counter, "Connections refused for their user.",
      shared.refusedTotal)
  }

  /// What each tenant has.
  func addNamespaceGauges(to text: inout MetricsText) {
    let gauges: [(String, String, KeyPath<NamespaceReport, Int>)] = [
      ("ram_objects", "Objects in RAM.", \.ramObjects),
      ("ram_bytes", "Bytes in RAM, reservations included.", \.ramBytes),
      ("disk_objects", "Objects on disk.", \.diskObjects),
      ("disk_bytes", "Bytes on disk.", \.diskBytes),
      ("pinned_bytes", "Bytes pinned in RAM.", \.pinnedBytes),
      ("connections", "Connections.", \.connections),
    ]
    for (name, help, path) in gauges {
      text.begin("kdn_namespace_\(name)", .gauge, help)
      for tenant in report.namespaces {
        text.add(tenant[keyPath: path], ("namespace", tenant.name))
      }
    }
    let limits: [(String, String, KeyPath<NamespaceReport, Int?>)] = [
      ("ram_limit_bytes", "Most bytes in RAM.", \.limits.ramBytesMax),
      ("disk_limit_bytes", "Most bytes on disk.", \.limits.diskBytesMax),
      ("pinned_limit_bytes", "Most bytes pinned.", \.limits.pinnedBytesMax),
      ("connections_limit", "Most connections.", \.limits.connectionsMax),
      ("requests_per_second_limit", "Most requests a second.", \.limits.requestsPerSecond),
      ("bytes_per_second_limit", "Most payload bytes a second.", \.limits.bytesPerSecond),
    ]
    for (name, help, path) in limits {
      text.begin("kdn_namespace_\(name)", .gauge, "\(help) Absent where there is no limit.")
      for tenant in report.namespaces {
        guard let limit = tenant[keyPath: path] else { continue }
        text.add(limit, ("namespace", tenant.name))
      }
    }
  }

  /// What each tenant did.
  func addNamespaceCounters(to text: inout MetricsText) {
    let counters: [(String, String, KeyPath<NamespaceReport, UInt64>)] = [
      ("requests", "Requests.", \.requestsTotal),
      ("received_bytes", "Bytes from the tenant.", \.receivedBytesTotal),
      ("sent_bytes", "Bytes to the tenant.", \.sentBytesTotal),
      ("stores", "Objects stored.", \.storesTotal),
      ("stored_bytes", "Bytes stored.", \.storedBytesTotal),
      ("evictions", "Objects that made room for others.", \.evictionsTotal),
      ("evicted_bytes", "Bytes of them.", \.evictedBytesTotal),
      ("quota_refusals", "Stores refused over a quota.", \.quotaRefusalsTotal),
      ("rate_refusals", "Requests and connections over a rate or number.", \.rateRefusalsTotal),
    ]
    for (name, help, path) in counters {
      text.begin("kdn_namespace_\(name)_total", .counter, help)
      for tenant in report.namespaces {
        text.add(tenant[keyPath: path], ("namespace", tenant.name))
      }
    }
    text.begin("kdn_namespace_hits_total", .counter, "Reads answered, by tier.")
    for tenant in report.namespaces {
      text.add(tenant.ramHitsTotal, ("namespace", tenant.name), ("tier", "ram"))
      text.add(tenant.diskHitsTotal, ("namespace", tenant.name), ("tier", "disk"))
    }
    text.begin("kdn_namespace_misses_total", .counter, "Reads not answered, by cause.")
    for tenant in report.namespaces {
      for (cause, count) in tenant.missesTotal.sorted(by: { $0.key < $1.key }) {
        text.add(count, ("namespace", tenant.name), ("cause", cause))
      }
    }
    text.begin("kdn_namespace_errors_total", .counter, "Requests that ended with an error.")
    for tenant in report.namespaces {
      for (status, count) in tenant.errorsTotal.sorted(by: { $0.key < $1.key }) {
        text.add(count, ("namespace", tenant.name), ("status", status))
      }
    }
  }
}
