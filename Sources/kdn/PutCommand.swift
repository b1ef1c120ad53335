internal import ArgumentParser
internal import KDNCore
internal import KDNWire

/// `kdn put`: stores an opaque object.
struct PutCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "put", abstract: "Stores an opaque object; it cannot be changed later.")

  @OptionGroup var common: CommonOptions
  @Argument(help: "The key, any text.")
  var key: String
  @Argument(help: "File with the value; - is standard input.")
  var file = "-"
  @Option(help: "Seconds that the object may be kept; 0 is for ever.")
  var ttlSeconds: UInt64 = 0

  func validate() throws {
    guard !key.isEmpty else { throw ValidationError("a key is not empty") }
    guard ttlSeconds <= UInt64.max / 1000 else { throw ValidationError("--ttl-seconds: too long") }
  }

  func answer() throws -> Bool {
    let client = try common.client()
    let limit = client.connection.hello.limits.maxObjectBytes
    let bytes = try FileBytes.read(file, limit: limit)
    guard !bytes.isEmpty else {
      throw FieldFault("value", value: 0, limit: 1, "an object has bytes")
    }
    let facts = PutBeginRequest(
      key: KeyArguments.object(key), totalBytes: bytes.count, ttlMilliseconds: ttlSeconds * 1000)
    let display = ProgressDisplay("put")
    defer { display.end() }
    client.connection.progress = { display.show($0, of: $1) }
    let state = try client.put(facts, bytes: bytes)
    display.end()
    let word = state == .published ? "published" : "present"
    if common.json {
      try Output.line(PutAnswer(key: key, bytes: bytes.count, state: word))
    } else {
      Output.line("\(word) \(bytes.count) bytes")
    }
    return true
  }
}

/// What became of a store.
private struct PutAnswer: Encodable {
  let key: String
  let bytes: Int
  let state: String
}
