internal import ArgumentParser
internal import KDNCore
internal import KDNTier

/// `kdn dump`: what a directory of the disk tier holds.
struct DumpCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "dump",
    abstract: "Lists the objects in a directory of the disk tier while no daemon uses it.",
    discussion: """
      One line per object, oldest first: namespace, key, bytes, tokens, age in seconds, seconds of
      the TTL that are left, segment, block, seconds of the pin that are left; - where there is
      none. Keys of opaque objects are the SHA-256 of what the client said. Damage is told on
      standard error, and by exit code 1.
      """)

  @OptionGroup var target: DirectoryArguments

  func answer() throws -> Bool {
    let report = try target.check(readsPayloads: false)
    for finding in report.findings { Output.complain("\(finding)") }
    let now = SystemWallClock().milliseconds()
    for record in report.live {
      let line = DumpLine(record, now: now)
      if target.json {
        try Output.line(line)
      } else {
        Output.line(line.text)
      }
    }
    return report.findings.isEmpty
  }
}

/// One object, for programs and people.
private struct DumpLine: Encodable {
  let namespace: String
  let generation: UInt64
  let key: String
  let bytes, tokens, firstToken: Int
  let storedAtMilliseconds: UInt64
  let ageSeconds: UInt64
  let ttlLeftSeconds, pinLeftSeconds: UInt64?
  let segment: String
  let block: Int
  let sequence: UInt64

  init(_ record: LiveRecord, now: UInt64) {
    let facts = record.header.facts
    namespace = facts.namespace.text
    generation = facts.generation
    key = "\(KeyText(facts.key))"
    bytes = facts.byteCount
    tokens = facts.tokenCount
    firstToken = facts.firstToken
    storedAtMilliseconds = facts.storedAtMilliseconds
    ageSeconds = (now - min(now, facts.storedAtMilliseconds)) / 1000
    ttlLeftSeconds = facts.ttlLeft(atWallMilliseconds: now).map { $0 / 1000 }
    pinLeftSeconds = record.pinEndMilliseconds.map { ($0 - min($0, now)) / 1000 }
    segment = record.file
    block = record.header.blockIndex
    sequence = record.header.sequence
  }

  /// The line for people.
  var text: String {
    let ttl = ttlLeftSeconds.map(String.init) ?? "-"
    let pin = pinLeftSeconds.map(String.init) ?? "-"
    return "\(namespace) \(key) \(bytes) \(tokens) \(ageSeconds) \(ttl) \(segment) \(block) \(pin)"
  }
}

/// A key as one word: `opaque:HASH`, or `layout:HASH:LAYOUT:FIRST+COUNT:FIRST+COUNT` with layers
/// and KV heads, and `:VARIANT` behind it if it is not 0.
struct KeyText: CustomStringConvertible {
  private let key: ObjectKey

  init(_ key: ObjectKey) { self.key = key }

  var description: String {
    guard key.kind == .layout else { return "opaque:\(key.hash)" }
    let part = key.part
    let variant = key.variant == 0 ? "" : ":\(key.variant)"
    return "layout:\(key.hash):\(key.layout):\(part.firstLayer)+\(part.layerCount)"
      + ":\(part.firstKVHead)+\(part.kvHeadCount)\(variant)"
  }
}
