internal import KDNControl

extension WorkReport {
  /// Adds a namespace's work, for which `waiting` requests wait.
  mutating func add(_ table: JobTable, waiting: Int) {
    queued += table.queuedCount
    running += table.runningCount
    waitingWorkers += waiting
    bytes += table.byteCount
    let counts = table.counts
    submittedTotal += counts.submitted
    doneTotal += counts.ended[.done, default: 0]
    failedTotal += counts.ended[.failed, default: 0]
    cancelledTotal += counts.ended[.cancelled, default: 0]
    expiredTotal += counts.ended[.expired, default: 0]
    givenBackTotal += counts.givenBack
    lostTotal += counts.lost
  }
}
