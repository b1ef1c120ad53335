internal import ArgumentParser
internal import KDNClient
internal import KDNWire

/// `kdn jobs`: work that the daemon keeps for workers.
struct JobsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "jobs",
    abstract: "Shows and cancels work that waits for a worker, or that one has.",
    discussion: """
      Jobs of a namespace are known until ten minutes after their end, and end with the daemon.
      """,
    subcommands: [ListJobsCommand.self, ShowJobCommand.self, CancelJobCommand.self])
}

/// `kdn jobs list`: all that is known.
struct ListJobsCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists the namespace's jobs.")

  @OptionGroup var common: CommonOptions

  func answer() throws -> Bool {
    let rows = try common.connect().listJobs()
    guard !common.json else {
      for facts in rows { try Output.line(JobLine(facts)) }
      return true
    }
    let cells = rows.map { facts in
      [
        "\(facts.id)", facts.kind, "\(facts.state)", Text.percent(facts.progress, of: 1000),
        "\(facts.attempts)",
      ]
    }
    for line in Text.table(["job", "kind", "state", "done", "attempts"], cells) {
      Output.line(line)
    }
    return true
  }
}

/// `kdn jobs show`: one job, with what came of it.
struct ShowJobCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Shows a job; 1 if it ended in another way than done.")

  @OptionGroup var common: CommonOptions
  @Argument(help: "The job's number.")
  var job: UInt64

  func validate() throws {
    guard job > 0 else { throw ValidationError("jobs have numbers above 0") }
  }

  func answer() throws -> Bool {
    let status = try common.connect().jobStatus(job)
    let line = JobLine(status)
    if common.json {
      try Output.line(line)
    } else {
      Output.line(line.text)
      if let reason = line.reason { Output.line("  reason: \(reason)") }
      if let result = line.result { Output.line("  result: \(result)") }
    }
    return !status.facts.state.isOver || status.facts.state == .done
  }
}

/// `kdn jobs cancel`: ends a job.
struct CancelJobCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "cancel",
    abstract: "Cancels a job; 1 if it was over already.",
    discussion: "A worker that has the job stops between two layers, and stores nothing more.")

  @OptionGroup var common: CommonOptions
  @Argument(help: "The job's number.")
  var job: UInt64

  func validate() throws {
    guard job > 0 else { throw ValidationError("jobs have numbers above 0") }
  }

  func answer() throws -> Bool {
    let connection = try common.connect()
    let wasOver = try connection.jobStatus(job).facts.state.isOver
    let state = try connection.cancelJob(job)
    if common.json {
      try Output.line(["job": "\(job)", "state": "\(state)"])
    } else {
      Output.line("job \(job) is \(state)")
    }
    return !wasOver && state == .cancelled
  }
}

/// A job for people and for programs.
struct JobLine: Encodable {
  /// The job's number.
  let job: UInt64
  /// What kind of worker it is for.
  let kind: String
  /// How it stands.
  let state: String
  /// How far its worker has come, in thousandths.
  let progress: Int
  /// How often it was taken.
  let attempts: Int
  /// Why it failed or was given back last.
  var reason: String?
  /// What its worker made of it, as text.
  var result: String?

  /// What a list tells.
  init(_ facts: JobFacts) {
    job = facts.id
    kind = facts.kind
    state = "\(facts.state)"
    progress = facts.progress
    attempts = facts.attempts
  }

  /// All that is known.
  init(_ status: Connection.JobStatus) {
    self.init(status.facts)
    reason = status.reason.isEmpty ? nil : status.reason
    result = status.result.isEmpty ? nil : String(decoding: status.result, as: UTF8.self)
  }

  /// In one line.
  var text: String {
    "job \(job), \(kind): \(state), \(Text.percent(progress, of: 1000)) done, "
      + "attempt \(attempts)"
  }
}
