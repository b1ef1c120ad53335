package import KDNCore

/// How a job stands; numbers as on the wire.
package enum JobState: UInt8, Sendable, CaseIterable {
  case queued = 1
  case running = 2
  case done = 3
  case failed = 4
  case cancelled = 5
  case expired = 6

  /// Whether nothing more will come of it.
  package var isOver: Bool { self != .queued && self != .running }
}

/// What became of a holder's word; numbers as on the wire.
package enum JobHold: UInt8, Sendable, CaseIterable {
  /// It was taken.
  case held = 1
  /// The job is not wanted any more.
  case cancelled = 2
  /// The attempt is not the holder's any more, or the job is not known.
  case lost = 3
}

/// What a list tells of a job.
package struct JobFacts: Hashable, Sendable {
  /// Not 0; grows with each job of the namespace.
  package let id: UInt64
  /// What kind of job.
  package let kind: String
  /// How it stands.
  package let state: JobState
  /// Attempts begun.
  package let attempts: Int
  /// Thousandths done, as the worker last said.
  package let progress: Int

  /// Smallest encoding.
  fileprivate static let byteCountMin = 15

  /// Gathers the facts.
  package init(id: UInt64, kind: String, state: JobState, attempts: Int, progress: Int) {
    self.id = id
    self.kind = kind
    self.state = state
    self.attempts = attempts
    self.progress = progress
  }
}

/// The answer to WORK.
package enum WorkResponse: FrameBody {
  /// A job to be done.
  package struct Job: Hashable, Sendable {
    /// The job and the attempt that begins.
    package let holding: WorkRequest.Holding
    /// What kind of job.
    package let kind: String
    /// What was submitted.
    package let payload: [UInt8]

    /// Puts a job together.
    package init(holding: WorkRequest.Holding, kind: String, payload: [UInt8]) {
      self.holding = holding
      self.kind = kind
      self.payload = payload
    }
  }

  /// The job is queued under this number.
  case submitted(id: UInt64)
  /// A job, or none within the wait.
  case taken(Job?)
  /// What became of the renewal.
  case renewed(JobHold)
  /// What became of the result.
  case finished(JobHold)
  /// What became of the failure.
  case failed(JobHold)
  /// How the job stands; reason and result are empty until there are any.
  case status(JobFacts, reason: String, result: [UInt8])
  /// How the job stands now.
  case cancelled(JobState)
  /// Jobs in the order of their numbers.
  case listed([JobFacts])

  /// Decodes a whole body; throws a fault that names `verb`, `reserved`, `bodyLength`, `id`,
  /// `attempt`, `kind`, `payload`, `hold`, `state`, `attempts`, `progress`, `reason`, `result` or
  /// `count`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 8)
    switch try WorkRequest.Verb(from: &reader, reservedBytes: 7) {
    case .submit:
      try reader.require(exactly: 8)
      self = .submitted(id: try reader.takeNumber("id", above: 0))
    case .take: self = .taken(try Job(from: &reader))
    case .renew: self = .renewed(try JobHold(from: &reader))
    case .finish: self = .finished(try JobHold(from: &reader))
    case .fail: self = .failed(try JobHold(from: &reader))
    case .status:
      let facts = try JobFacts(from: &reader, above: 0)
      let reason = try reader.takeText("reason", limit: WorkRequest.reasonBytesMax)
      self = .status(
        facts, reason: reason,
        result: try reader.takeLongBytes("result", limit: WorkRequest.resultBytesMax))
    case .cancel:
      try reader.require(exactly: 4)
      self = .cancelled(try JobState(from: &reader))
      try reader.takeReserved(count: 3)
    case .list:
      try reader.require(atLeast: 4)
      let count = try reader.takeCount("count", limit: WorkRequest.listMax)
      try reader.require(atLeast: count * JobFacts.byteCountMin)
      var rows: [JobFacts] = []
      rows.reserveCapacity(count)
      for _ in 0..<count { rows.append(try JobFacts(from: &reader, above: rows.last?.id ?? 0)) }
      self = .listed(rows)
    }
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    verb.write(reservedBytes: 7, to: &writer)
    switch self {
    case .submitted(let id): writer.put(id)
    case .taken(let job):
      writer.put(job?.holding.id ?? 0)
      guard let job else { return }
      writer.put(UInt32(job.holding.attempt))
      writer.put(job.kind, limit: WorkRequest.kindBytesMax)
      writer.putLong(job.payload)
    case .renewed(let hold), .finished(let hold), .failed(let hold):
      writer.put(hold.rawValue)
      writer.putZeros(3)
    case .status(let facts, let reason, let result):
      facts.write(to: &writer)
      writer.put(reason, limit: WorkRequest.reasonBytesMax)
      writer.putLong(result)
    case .cancelled(let state):
      writer.put(state.rawValue)
      writer.putZeros(3)
    case .listed(let rows):
      writer.put(UInt32(rows.count))
      for facts in rows { facts.write(to: &writer) }
    }
  }

  private var verb: WorkRequest.Verb {
    switch self {
    case .submitted: .submit
    case .taken: .take
    case .renewed: .renew
    case .finished: .finish
    case .failed: .fail
    case .status: .status
    case .cancelled: .cancel
    case .listed: .list
    }
  }
}

extension WorkResponse.Job {
  /// nil if the number says that there is none.
  fileprivate init?(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 8)
    let id: UInt64 = try reader.take("id")
    guard id != 0 else { return nil }
    try reader.require(atLeast: 4)
    let attempt = try reader.takeCount("attempt", least: 1, limit: WorkRequest.attemptsMax)
    holding = WorkRequest.Holding(id: id, attempt: attempt)
    kind = try reader.takeText("kind", least: 1, limit: WorkRequest.kindBytesMax)
    payload = try reader.takeLongBytes("payload", limit: WorkRequest.payloadBytesMax)
  }
}

extension JobHold {
  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 4)
    let raw: UInt8 = try reader.take("hold")
    guard let hold = Self(rawValue: raw) else {
      throw FieldFault("hold", value: UInt64(raw), limit: 3, "must be 1 to 3")
    }
    try reader.takeReserved(count: 3)
    self = hold
  }
}

extension JobState {
  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    let raw: UInt8 = try reader.take("state")
    guard let state = Self(rawValue: raw) else {
      throw FieldFault("state", value: UInt64(raw), limit: 6, "must be 1 to 6")
    }
    self = state
  }
}

extension JobFacts {
  fileprivate init(from reader: inout ByteReader, above: UInt64) throws(FieldFault) {
    try reader.require(atLeast: Self.byteCountMin)
    id = try reader.takeNumber("id", above: above)
    state = try JobState(from: &reader)
    attempts = Int(try reader.take("attempts", as: UInt8.self))
    guard attempts <= WorkRequest.attemptsMax else {
      throw FieldFault("attempts", value: attempts, limit: WorkRequest.attemptsMax, "too many")
    }
    progress = try reader.takeShortCount("progress", limit: 1000)
    kind = try reader.takeText("kind", least: 1, limit: WorkRequest.kindBytesMax)
  }

  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(id)
    writer.put(state.rawValue)
    writer.put(UInt8(attempts))
    writer.put(UInt16(progress))
    writer.put(kind, limit: WorkRequest.kindBytesMax)
  }
}
