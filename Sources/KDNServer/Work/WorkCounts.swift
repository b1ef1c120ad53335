/// What happened to the work of a namespace so far.
struct WorkCounts: Equatable, Sendable {
  /// Jobs that were put into the queue.
  var submitted: UInt64 = 0
  /// Times that a worker was lost with a job: its connection ended, or its lease ran out.
  var lost: UInt64 = 0
  /// Times that a job went back into the queue.
  var givenBack: UInt64 = 0
  /// Jobs that are over, by how they ended.
  var ended: [Job.Outcome: UInt64] = [:]
}
