internal import ArgumentParser
internal import KDNClient
internal import KDNCore
internal import KDNWire

/// `kdn get`: fetches an opaque object.
struct GetCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "get", abstract: "Fetches an opaque object; 1 if it is not there.")

  @OptionGroup var common: CommonOptions
  @Argument(help: "The key, any text.")
  var key: String
  @Argument(help: "File for the value; - is standard output.")
  var file = "-"
  @Option(help: "Wait up to so many milliseconds until the object is stored.")
  var waitMilliseconds: UInt32?

  func validate() throws {
    guard !key.isEmpty else { throw ValidationError("a key is not empty") }
    guard waitMilliseconds != 0 else { throw ValidationError("--wait-milliseconds: at least 1") }
    guard !(common.json && file == "-") else {
      throw ValidationError("with --json the value needs a file")
    }
  }

  func answer() throws -> Bool {
    let (result, bytes) = try fetch()
    if let cause = result.miss {
      Output.complain("miss: \(cause.name)")
      if common.json { try Output.line(GetAnswer(key: key, bytes: 0, miss: cause.name)) }
      return false
    }
    try FileBytes.write(bytes, to: file)
    if common.json { try Output.line(GetAnswer(key: key, bytes: bytes.count, miss: nil)) }
    return true
  }

  /// Asks first with little room, then with as much as the object turned out to need.
  private func fetch() throws -> (GetResult, [UInt8]) {
    let client = try common.client()
    let display = ProgressDisplay("get")
    defer { display.end() }
    var capacity = Self.firstCapacity
    while true {
      let (result, bytes) = try client.get(
        KeyArguments.object(key), capacity: capacity,
        flags: waitMilliseconds == nil ? [] : .wait, deadlineMilliseconds: waitMilliseconds ?? 0)
      guard case .noRoom(let needed) = result else { return (result, bytes) }
      capacity = needed
      client.connection.progress = { display.show($0, of: $1) }
    }
  }

  private static let firstCapacity = 1 << 20
}

/// What became of a fetch.
private struct GetAnswer: Encodable {
  let key: String
  let bytes: Int
  let miss: String?
}
