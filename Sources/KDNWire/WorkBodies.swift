package import KDNCore

/// WORK: jobs that the daemon keeps for whoever has the model.
package enum WorkRequest: FrameBody {
  /// Queues a job. A deadline or number of attempts of 0 is the server's default.
  case submit(kind: String, payload: [UInt8], deadlineMilliseconds: UInt32, attempts: UInt8)
  /// Waits for a job of one of these kinds, at most so long, and leases it.
  case take(kinds: [String], waitMilliseconds: UInt32, leaseMilliseconds: UInt32)
  /// Renews the lease of a job and tells how far it is, in thousandths.
  case renew(Holding, progress: Int)
  /// Ends a job with what came of it.
  case finish(Holding, result: [UInt8])
  /// Ends an attempt; `again` if another may do better.
  case fail(Holding, reason: String, again: Bool)
  /// Asks how a job stands.
  case status(id: UInt64)
  /// Asks that a job not be done, or not to its end.
  case cancel(id: UInt64)
  /// Asks for jobs with numbers behind `after`, at most `limit`.
  case list(after: UInt64, limit: Int)

  /// A job as one worker holds it: what a former holder says of it is not taken.
  package struct Holding: Hashable, Sendable {
    /// The job.
    package let id: UInt64
    /// Which attempt it is, from 1 on, as `take` told.
    package let attempt: Int

    /// Names an attempt.
    package init(id: UInt64, attempt: Int) {
      self.id = id
      self.attempt = attempt
    }
  }

  /// Longest kind, in bytes.
  package static let kindBytesMax = 32
  /// Most kinds in one `take`.
  package static let kindsMax = 16
  /// Longest payload: with its request it fits a body of the default length.
  package static let payloadBytesMax = (1 << 20) - 4096
  /// Longest result.
  package static let resultBytesMax = 64 << 10
  /// Longest reason, in bytes.
  package static let reasonBytesMax = 1024
  /// Most attempts.
  package static let attemptsMax = 10
  /// Longest deadline of a job, in milliseconds: a day.
  package static let deadlineMillisecondsMax = 86_400_000
  /// Longest wait for a job, in milliseconds.
  package static let waitMillisecondsMax = 60_000
  /// Shortest and longest lease, in milliseconds.
  package static let leaseMilliseconds = 1000...600_000
  /// Most jobs in one answer to `list`.
  package static let listMax = 1000

  /// What is asked for, as on the wire.
  enum Verb: UInt8 {
    case submit = 1
    case take = 2
    case renew = 3
    case finish = 4
    case fail = 5
    case status = 6
    case cancel = 7
    case list = 8
  }

  /// Decodes a whole body.
  ///
  /// - Throws: a fault that names `verb`, `reserved`, `bodyLength`, `kind`, `count`, `payload`,
  ///   `deadlineMillis`, `attempts`, `waitMillis`, `leaseMillis`, `id`, `attempt`, `progress`,
  ///   `result`, `reason`, `again` or `limit`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 12)
    switch try Verb(from: &reader, reservedBytes: 3) {
    case .submit: self = try Self.submit(from: &reader)
    case .take: self = try Self.take(from: &reader)
    case .renew:
      let holding = try Holding(from: &reader)
      try reader.require(exactly: 4)
      self = .renew(holding, progress: try reader.takeCount("progress", limit: 1000))
    case .finish:
      let holding = try Holding(from: &reader)
      self = .finish(
        holding, result: try reader.takeLongBytes("result", limit: Self.resultBytesMax))
    case .fail:
      let holding = try Holding(from: &reader)
      try reader.require(atLeast: 4)
      let again = try reader.takeCount("again", limit: 1) == 1
      let reason = try reader.takeText("reason", limit: Self.reasonBytesMax)
      self = .fail(holding, reason: reason, again: again)
    case .status: self = .status(id: try reader.takeNumber("id", above: 0))
    case .cancel: self = .cancel(id: try reader.takeNumber("id", above: 0))
    case .list:
      let after: UInt64 = try reader.take("after")
      try reader.require(exactly: 4)
      self = .list(
        after: after, limit: try reader.takeCount("limit", least: 1, limit: Self.listMax))
    }
    try reader.require(exactly: 0)
  }

  private static func submit(from reader: inout ByteReader) throws(FieldFault) -> Self {
    let deadline = try reader.takeCount("deadlineMillis", limit: deadlineMillisecondsMax)
    let attempts = try reader.takeCount("attempts", limit: attemptsMax)
    let kind = try reader.takeText("kind", least: 1, limit: kindBytesMax)
    let payload = try reader.takeLongBytes("payload", limit: payloadBytesMax)
    return .submit(
      kind: kind, payload: payload, deadlineMilliseconds: UInt32(deadline),
      attempts: UInt8(attempts))
  }

  private static func take(from reader: inout ByteReader) throws(FieldFault) -> Self {
    let wait = try reader.takeCount("waitMillis", limit: waitMillisecondsMax)
    let lease = try reader.takeCount(
      "leaseMillis", least: leaseMilliseconds.lowerBound, limit: leaseMilliseconds.upperBound)
    try reader.require(atLeast: 4)
    let count = try reader.takeCount("count", least: 1, limit: kindsMax)
    var kinds: [String] = []
    for _ in 0..<count {
      kinds.append(try reader.takeText("kind", least: 1, limit: kindBytesMax))
    }
    return .take(
      kinds: kinds, waitMilliseconds: UInt32(wait), leaseMilliseconds: UInt32(lease))
  }

  package func write(to writer: inout ByteWriter) {
    verb.write(reservedBytes: 3, to: &writer)
    switch self {
    case .submit(let kind, let payload, let deadlineMilliseconds, let attempts):
      writer.put(deadlineMilliseconds)
      writer.put(UInt32(attempts))
      writer.put(kind, limit: Self.kindBytesMax)
      writer.putLong(payload)
    case .take(let kinds, let waitMilliseconds, let leaseMilliseconds):
      writer.put(waitMilliseconds)
      writer.put(leaseMilliseconds)
      writer.put(UInt32(kinds.count))
      for kind in kinds { writer.put(kind, limit: Self.kindBytesMax) }
    case .renew(let holding, let progress):
      holding.write(to: &writer)
      writer.put(UInt32(progress))
    case .finish(let holding, let result):
      holding.write(to: &writer)
      writer.putLong(result)
    case .fail(let holding, let reason, let again):
      holding.write(to: &writer)
      writer.put(UInt32(again ? 1 : 0))
      writer.put(reason, limit: Self.reasonBytesMax)
    case .status(let id), .cancel(let id): writer.put(id)
    case .list(let after, let limit):
      writer.put(after)
      writer.put(UInt32(limit))
    }
  }

  private var verb: Verb {
    switch self {
    case .submit: .submit
    case .take: .take
    case .renew: .renew
    case .finish: .finish
    case .fail: .fail
    case .status: .status
    case .cancel: .cancel
    case .list: .list
    }
  }
}

extension WorkRequest.Verb {
  init(from reader: inout ByteReader, reservedBytes: Int) throws(FieldFault) {
    let raw: UInt8 = try reader.take("verb")
    guard let verb = Self(rawValue: raw) else {
      throw FieldFault("verb", value: UInt64(raw), limit: 8, "unknown verb")
    }
    try reader.takeReserved(count: reservedBytes)
    self = verb
  }

  func write(reservedBytes: Int, to writer: inout ByteWriter) {
    writer.put(rawValue)
    writer.putZeros(reservedBytes)
  }
}

extension WorkRequest.Holding {
  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    id = try reader.takeNumber("id", above: 0)
    try reader.require(atLeast: 4)
    attempt = try reader.takeCount("attempt", least: 1, limit: WorkRequest.attemptsMax)
  }

  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(id)
    writer.put(UInt32(attempt))
  }
}

extension ByteReader {
  /// Takes a u64 that must be above `least`.
  mutating func takeNumber(
    _ field: StaticString, above least: UInt64
  ) throws(FieldFault) -> UInt64 {
    let number: UInt64 = try take(field)
    guard number > least else {
      throw FieldFault("\(field)", value: number, limit: least, "must be above the limit")
    }
    return number
  }

  /// Takes bytes behind their u32 length.
  mutating func takeLongBytes(
    _ field: StaticString, limit: Int
  ) throws(FieldFault) -> [UInt8] {
    try require(atLeast: 4)
    let count = try takeCount(field, limit: limit)
    try require(atLeast: count)
    return Array(try takeBytes(field, count: count))
  }
}

extension ByteWriter {
  /// Appends bytes behind their u32 length.
  mutating func putLong(_ bytes: [UInt8]) {
    put(UInt32(bytes.count))
    put(contentsOf: bytes)
  }
}
