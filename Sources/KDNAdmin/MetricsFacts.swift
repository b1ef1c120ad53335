internal import KDNControl

/// What `/metrics` tells of, and the text that it tells it in.
///
/// The same facts always give the same text.
struct MetricsFacts: Sendable {
  /// Value of Content-Type.
  static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  let report: DaemonReport
  let readiness: ReadinessReport
  /// Most connections of the data ports; nil if the configuration does not say.
  let connectionsMax: Int?
  /// When the process started, in seconds since 1970.
  let startedSeconds: Double

  /// All families, in the text format of Prometheus.
  var text: String {
    var text = MetricsText()
    addDaemon(to: &text)
    addProcess(to: &text)
    addPool(to: &text)
    addTiers(to: &text)
    if let disk = report.disk { addDisk(disk, to: &text) }
    addConnections(to: &text)
    if let shared = report.sharedMemory { addSharedMemory(shared, to: &text) }
    addOperations(to: &text)
    addNamespaceGauges(to: &text)
    addNamespaceCounters(to: &text)
    addCodecs(to: &text)
    if let coding = report.coding { addCoding(coding, to: &text) }
    if let documents = report.documents { addDocuments(documents, to: &text) }
    if let blends = report.blends { addBlends(blends, to: &text) }
    if let delivery = report.delivery { addDelivery(delivery, to: &text) }
    if let work = report.work { addWork(work, to: &text) }
    return text.text
  }

  private func addDaemon(to text: inout MetricsText) {
    text.begin("kdn_build_info", .gauge, "Always 1; the label says which version runs.")
    text.add(1, ("version", report.version))
    text.single("kdn_uptime_seconds", .gauge, "Since the start.", report.uptimeSeconds)
    text.begin("kdn_state", .gauge, "1 for the state that the daemon is in, 0 for the others.")
    for state in [DaemonReport.State.recovering, .ready, .draining] {
      text.add(report.state == state, ("state", state.rawValue))
    }
    text.begin("kdn_ready", .gauge, "Whether the daemon can serve.")
    text.add(readiness.isReady)
    text.begin("kdn_readiness_check", .gauge, "Whether a thing looked at for readiness is well.")
    for check in readiness.checks { text.add(check.isOK, ("check", check.name)) }
    text.begin(
      "kdn_config_last_reload_successful", .gauge,
      "Whether the configuration read last was applied.")
    text.add(report.reload.lastSucceeded)
    text.single(
      "kdn_config_last_reload_timestamp_seconds", .gauge,
      "When the configuration was read last, successfully or not.",
      Double(report.reload.lastUnixMilliseconds) / 1000)
    text.begin("kdn_config_reloads_total", .counter, "Reloads by what came of them.")
    text.add(report.reload.succeededTotal, ("result", "success"))
    text.add(report.reload.failedTotal, ("result", "failure"))
    text.single(
      "kdn_events_total", .counter, "Events that /events tells of.", report.events.total)
  }

  private func addProcess(to text: inout MetricsText) {
    let process = report.process
    text.single(
      "process_cpu_seconds_total", .counter, "User and system time.", process.cpuSeconds)
    text.single(
      "process_resident_memory_bytes", .gauge, "Resident memory.", process.residentBytes)
    text.single(
      "process_resident_memory_max_bytes", .gauge, "The most resident memory there ever was.",
      process.residentBytesMax)
    text.single("process_open_fds", .gauge, "Open file descriptors.", process.openFiles)
    text.single(
      "process_max_fds", .gauge, "Most file descriptors allowed.", process.openFilesMax)
    text.single("process_threads", .gauge, "Threads.", process.threads)
    text.single(
      "process_start_time_seconds", .gauge, "When the process started, since 1970.",
      startedSeconds)
    let memory = report.memory
    text.single(
      "kdn_memory_capacity_bytes", .gauge, "Size of the arena.", memory.capacityBytes)
    text.single(
      "kdn_memory_allocated_bytes", .gauge, "Bytes of the arena in use.", memory.allocatedBytes)
    text.single("kdn_memory_extents", .gauge, "Pieces of the arena in use.", memory.extents)
    text.single("kdn_memory_free_slabs", .gauge, "Slabs that are wholly free.", memory.freeSlabs)
    text.single("kdn_memory_slab_bytes", .gauge, "Size of a slab.", memory.slabBytes)
    text.single(
      "kdn_memory_largest_free_extent_bytes", .gauge, "Largest free piece of the arena.",
      memory.largestFreeExtentBytes)
  }

  private func addOperations(to text: inout MetricsText) {
    text.begin("kdn_requests_total", .counter, "Requests by operation.")
    for operation in report.operations {
      text.add(operation.requestsTotal, ("operation", operation.name))
    }
    text.begin("kdn_errors_total", .counter, "Requests that ended with an error, by its status.")
    for operation in report.operations {
      for (status, count) in operation.errorsTotal.sorted(by: { $0.key < $1.key }) {
        text.add(count, ("operation", operation.name), ("status", status))
      }
    }
    text.begin(
      "kdn_request_duration_seconds", .histogram,
      "From the arrival of a whole request until its answer was queued.")
    for operation in report.operations {
      let latency = operation.latency
      text.addHistogram(
        latency.bucketCounts, boundMicroseconds: LatencyReport.bucketMicroseconds,
        sumMicroseconds: latency.sumMicroseconds, ("operation", operation.name))
    }
  }
}
