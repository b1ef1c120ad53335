internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc
internal import KDNClient
internal import KDNCore
internal import KDNWire

/// `kdn learn`: texts become documents, by a worker with the model.
struct LearnFilesCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "learn",
    abstract: "Has texts learned: a worker computes their KV and publishes them as documents.",
    discussion: """
      Each file is one document, known by the file's name without its folder. A worker must run \
      (python -m kdn.blending.worker --model FOLDER); jobs wait for one until --deadline.

      Exit codes: 0 all are learned, 1 some are not.
      """)

  /// How often the daemon is asked how far it is.
  private static let pauseMicroseconds: UInt32 = 200_000
  /// Jobs in the queue at once: others have work, too.
  private static let windowMax = 16

  @OptionGroup var common: CommonOptions
  @Argument(help: "Files with text, UTF-8; - for standard input.")
  var files: [String]
  @Option(help: "The document's name, for one file.")
  var name: String?
  @Option(help: "Text that is kept with each document.")
  var metadata = ""
  @Option(help: "The salt of the documents' chunks.")
  var salt = ""
  @Option(help: "The kind of the jobs: learn, or learn.NAME for the workers of that queue.")
  var kind = "learn"
  @Option(help: "Seconds until a job is of no use any more.")
  var deadline: UInt32 = 600
  @Flag(help: "Print the jobs' numbers, do not wait for them.")
  var noWait = false

  func validate() throws {
    guard name == nil || files.count == 1 else {
      throw ValidationError("--name is for one file")
    }
    guard name != nil || !files.contains("-") else {
      throw ValidationError("standard input needs --name")
    }
    guard (1...86_400).contains(deadline) else {
      throw ValidationError("--deadline takes 1 to 86400 seconds")
    }
    guard kind == "learn" || kind.hasPrefix("learn."),
      kind.utf8.count <= WorkRequest.kindBytesMax
    else { throw ValidationError("--kind is learn or learn.NAME, at most 32 bytes") }
  }

  func answer() throws -> Bool {
    let connection = try common.connect()
    var waiting = files[...]
    var running: [UInt64] = []
    var learned = 0
    var isPositive = true
    let display = LearnDisplay(total: files.count)
    defer { display.end() }
    while !waiting.isEmpty || !running.isEmpty {
      while let file = waiting.first, noWait || running.count < Self.windowMax {
        let id = try submit(file, connection)
        waiting.removeFirst()
        if noWait { Output.line("\(id)") } else { running.append(id) }
      }
      var left: [UInt64] = []
      var progress = 0
      for id in running {
        let status = try connection.jobStatus(id)
        guard status.facts.state.isOver else {
          left.append(id)
          progress += status.facts.progress
          display.note(status.facts.state)
          continue
        }
        learned += 1
        display.end()
        isPositive = try show(status) && isPositive
      }
      running = left
      display.show(done: learned, permille: progress)
      if !running.isEmpty { usleep(Self.pauseMicroseconds) }
    }
    return isPositive
  }

  private func submit(_ file: String, _ connection: Connection) throws -> UInt64 {
    let bytes = try FileBytes.read(file, limit: WorkRequest.payloadBytesMax)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw ValidationError("\(file) is not text in UTF-8")
    }
    let document = name ?? file.split(separator: "/").last.map { String($0) } ?? file
    let fields = ["name": document, "text": text, "metadata": metadata, "salt": salt]
    let payload = [UInt8](try JSONEncoder().encode(fields))
    guard payload.count <= WorkRequest.payloadBytesMax else {
      throw ValidationError(
        "\(file) makes a job of \(payload.count) bytes, at most \(WorkRequest.payloadBytesMax)")
    }
    return try connection.submitJob(
      kind: kind, payload: payload, deadlineMilliseconds: deadline * 1000)
  }

  /// Tells how a job ended; false unless well.
  private func show(_ status: Connection.JobStatus) throws -> Bool {
    let line = JobLine(status)
    if common.json {
      try Output.line(line)
    } else if let made = try? LearnedText(status.result) {
      Output.line(made.line)
    } else {
      Output.complain("\(line.text)\(line.reason.map { ": \($0)" } ?? "")")
    }
    return status.facts.state == .done
  }
}

/// What a worker says of a document that it learned.
struct LearnedText: Decodable {
  /// The document's name.
  let name: String
  /// Which text the name stands for.
  let epoch: UInt64
  /// Its tokens.
  let tokens: Int
  /// How long it took.
  let seconds: Double

  private enum CodingKeys: String, CodingKey {
    case name, epoch, seconds
    case tokens = "token_count"
  }

  /// Reads a job's result; throws what the decoder does.
  init(_ result: [UInt8]) throws {
    self = try JSONDecoder().decode(Self.self, from: Data(result))
  }

  /// For people.
  var line: String {
    "learned \(name): \(tokens) tokens in \(Output.decimal(seconds, digits: 1)) s, epoch \(epoch)"
  }
}
