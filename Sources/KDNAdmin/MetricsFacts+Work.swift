internal import KDNControl

extension MetricsFacts {
  /// Jobs that the daemon keeps for workers.
  func addWork(_ work: WorkReport, to text: inout MetricsText) {
    let gauges: [(String, String, Int)] = [
      ("jobs_queued", "Jobs that wait for a worker.", work.queued),
      ("jobs_running", "Jobs that a worker has.", work.running),
      ("waiting_workers", "Requests that wait for a job.", work.waitingWorkers),
      ("jobs_bytes", "Memory of all jobs that are told of.", work.bytes),
    ]
    for (name, help, value) in gauges { text.single("kdn_work_\(name)", .gauge, help, value) }
    let counters: [(String, String, UInt64)] = [
      ("submitted", "Jobs that were put into the queue.", work.submittedTotal),
      ("given_back", "Times that a job went back into the queue.", work.givenBackTotal),
      ("workers_lost", "Times that a worker was lost with a job.", work.lostTotal),
    ]
    for (name, help, value) in counters {
      text.single("kdn_work_\(name)_total", .counter, help, value)
    }
    text.begin("kdn_work_jobs_ended_total", .counter, "Jobs that came to their end, by how.")
    let ended = [
      ("done", work.doneTotal), ("failed", work.failedTotal),
      ("cancelled", work.cancelledTotal), ("expired", work.expiredTotal),
    ]
    for (outcome, count) in ended { text.add(count, ("outcome", outcome)) }
  }
}
