package import KDNWire

/// Jobs for workers, by WORK.
extension Connection {
  /// How a job stands, why it failed, and what its worker made of it.
  package struct JobStatus: Sendable {
    /// What a list tells of it, too.
    package let facts: JobFacts
    /// Why it failed or was given back last; empty if neither.
    package let reason: String
    /// What its worker made of it.
    package let result: [UInt8]
  }

  /// Queues a job; a deadline or number of attempts of 0 is the daemon's default.
  ///
  /// - Returns: the job's number.
  /// - Throws: `refused`, or whatever ends the connection.
  package func submitJob(
    kind: String, payload: [UInt8], deadlineMilliseconds: UInt32 = 0, attempts: UInt8 = 0
  ) throws(ClientError) -> UInt64 {
    let request = WorkRequest.submit(
      kind: kind, payload: payload, deadlineMilliseconds: deadlineMilliseconds,
      attempts: attempts)
    guard case .submitted(let id) = try work(request) else { throw Self.otherWork }
    return id
  }

  /// How a job stands.
  ///
  /// - Throws: `refused` with `not_found` for one that is not known, or whatever ends the
  ///   connection.
  package func jobStatus(_ id: UInt64) throws(ClientError) -> JobStatus {
    guard case .status(let facts, let reason, let result) = try work(.status(id: id)) else {
      throw Self.otherWork
    }
    return JobStatus(facts: facts, reason: reason, result: result)
  }

  /// Ends a job unless it is over, and says how it stands then.
  ///
  /// - Throws: `refused` with `not_found` for one that is not known, or whatever ends the
  ///   connection.
  package func cancelJob(_ id: UInt64) throws(ClientError) -> JobState {
    guard case .cancelled(let state) = try work(.cancel(id: id)) else { throw Self.otherWork }
    return state
  }

  /// All jobs that are told of, in the order of their numbers.
  ///
  /// - Throws: `refused`, or whatever ends the connection.
  package func listJobs() throws(ClientError) -> [JobFacts] {
    var all: [JobFacts] = []
    while true {
      let request = WorkRequest.list(after: all.last?.id ?? 0, limit: WorkRequest.listMax)
      guard case .listed(let rows) = try work(request) else { throw Self.otherWork }
      all += rows
      if rows.count < WorkRequest.listMax { return all }
    }
  }

  private func work(_ body: WorkRequest) throws(ClientError) -> WorkResponse {
    guard case .work(let answer) = try request(.work(body)) else { throw Self.otherWork }
    return answer
  }

  private static var otherWork: ClientError { .lost("WORK was answered for another verb") }
}
