/// Jobs that the daemon keeps for workers, of all namespaces together.
package struct WorkReport: Codable, Sendable, Equatable {
  /// Jobs that wait for a worker.
  package var queued = 0
  /// Jobs that a worker has.
  package var running = 0
  /// Requests that wait for a job.
  package var waitingWorkers = 0
  /// Memory of all jobs, those included that are over and still told of.
  package var bytes = 0
  /// Jobs that were put into the queue.
  package var submittedTotal: UInt64 = 0
  /// Jobs that a worker did.
  package var doneTotal: UInt64 = 0
  /// Jobs that could not be done, or not in as many attempts as they had.
  package var failedTotal: UInt64 = 0
  /// Jobs that were cancelled.
  package var cancelledTotal: UInt64 = 0
  /// Jobs whose deadline passed before their end.
  package var expiredTotal: UInt64 = 0
  /// Times that a job went back into the queue.
  package var givenBackTotal: UInt64 = 0
  /// Times that a worker was lost with a job.
  package var lostTotal: UInt64 = 0

  /// A report of no work at all.
  package init() {}
}
