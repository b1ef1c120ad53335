package import KDNCore

/// What a connection has said about itself; answers everything that needs no store.
package struct RESPConversation: Sendable {
  /// Writes replies in the version that HELLO agreed on.
  package private(set) var encoder = RESPEncoder()
  /// Whether all that came so far could be from LMCache's native client.
  ///
  /// It sends AUTH, and SET, GET, EXISTS and DEL of one key each, and does not parse what it gets:
  /// see `RESPEncoder.paddedMiss`.
  package private(set) var isPlain = true
  /// Who has logged in; shown by CLIENT INFO.
  package var userName = Self.defaultUserName
  /// What CONFIG GET shows.
  package var configuration: [(name: String, value: String)] = Self.defaultConfiguration
  /// What the client calls itself, empty at first.
  package private(set) var clientName = ""
  /// The client's library, as it says, empty at first.
  package private(set) var libraryName = ""
  /// That library's version, as it says, empty at first.
  package private(set) var libraryVersion = ""

  private let connectionID: UInt64
  private let peer: String
  private let local: String

  /// Who a connection is until somebody logs in.
  package static let defaultUserName = "default"
  /// The release of Redis that this is like; clients look at it to see what they may ask.
  package static let redisVersion = "7.2.4"

  private static let defaultConfiguration: [(name: String, value: String)] = [
    ("appendonly", "no"), ("databases", "1"), ("maxmemory", "0"),
    ("maxmemory-policy", "allkeys-lru"), ("proto-max-bulk-len", "\(RESPLimits().valueBytesMax)"),
    ("save", ""), ("timeout", "0"),
  ]

  /// Begins with a connection's number and its two ends, as CLIENT INFO shows them.
  package init(connectionID: UInt64, peer: String, local: String) {
    self.connectionID = connectionID
    self.peer = peer
    self.local = local
  }

  /// Takes note of a command and answers it if that needs no store and no login.
  ///
  /// - Returns: false for HELLO, AUTH, QUIT, RESET and all that is about keys: the session's.
  package mutating func answer(_ command: RESPCommand, to writer: inout ByteWriter) -> Bool {
    isPlain = isPlain && Self.isPlain(command)
    switch command {
    case .client(let question): answer(question, to: &writer)
    case .ping(let message):
      if let message {
        encoder.bulk(message, to: &writer)
      } else {
        encoder.simple("PONG", to: &writer)
      }
    case .echo(let message): encoder.bulk(message, to: &writer)
    case .select: encoder.ok(to: &writer)
    case .configGet(let patterns): answer(configuration: patterns, to: &writer)
    case .commandTable(let question): encoder.commandTable(question, to: &writer)
    case .hello, .auth, .quit, .reset, .get, .mget, .exists, .delete, .strlen, .type, .scan,
      .timeToLive, .expire, .persist, .info, .databaseSize, .flush:
      return false
    }
    return true
  }

  /// HELLO is granted: takes over version and name, and writes the answer.
  package mutating func greet(_ hello: RESPHello, to writer: inout ByteWriter) {
    isPlain = false
    if let version = hello.version { encoder.version = version }
    if let name = hello.clientName { clientName = name }
    encoder.mapHeader(count: 7, to: &writer)
    for (name, value) in [("server", "redis"), ("version", Self.redisVersion)] {
      encoder.bulk(name, to: &writer)
      encoder.bulk(value, to: &writer)
    }
    encoder.bulk("proto", to: &writer)
    encoder.integer(encoder.version.rawValue, to: &writer)
    encoder.bulk("id", to: &writer)
    encoder.integer(Int(clamping: connectionID), to: &writer)
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
      encoder.bulk(name, to: &writer)
      encoder.bulk(value, to: &writer)
    }
    encoder.bulk("modules", to: &writer)
    encoder.arrayHeader(count: 0, to: &writer)
  }

  /// RESET: as if the connection were new, but for what it has shown itself to be; writes the
  /// answer.
  package mutating func reset(to writer: inout ByteWriter) {
    isPlain = false
    encoder.version = .two
    clientName = ""
    userName = Self.defaultUserName
    encoder.simple("RESET", to: &writer)
  }

  // MARK: Answers

  private mutating func answer(_ question: RESPClientCommand, to writer: inout ByteWriter) {
    switch question {
    case .id: encoder.integer(Int(clamping: connectionID), to: &writer)
    case .info: encoder.text(clientLine + "\n", to: &writer)
    case .getName:
      guard !clientName.isEmpty else { return encoder.null(to: &writer) }
      encoder.bulk(clientName, to: &writer)
    case .setName(let name):
      clientName = name
      encoder.ok(to: &writer)
    case .setLibraryName(let name):
      libraryName = name
      encoder.ok(to: &writer)
    case .setLibraryVersion(let version):
      libraryVersion = version
      encoder.ok(to: &writer)
    case .ignored: encoder.ok(to: &writer)
    }
  }

  /// The connection as CLIENT INFO shows it.
  private var clientLine: String {
    "id=\(connectionID) addr=\(peer) laddr=\(local) name=\(clientName) db=0 user=\(userName)"
      + " lib-name=\(libraryName) lib-ver=\(libraryVersion) resp=\(encoder.version.rawValue)"
  }

  private func answer(configuration patterns: [[UInt8]], to writer: inout ByteWriter) {
    let globs = patterns.map { RESPGlob($0, ignoringCase: true) }
    let found = configuration.filter { parameter in
      globs.contains { $0.matches(Array(parameter.name.utf8)) }
    }
    encoder.mapHeader(count: found.count, to: &writer)
    for (name, value) in found {
      encoder.bulk(name, to: &writer)
      encoder.bulk(value, to: &writer)
    }
  }

  private static func isPlain(_ command: RESPCommand) -> Bool {
    switch command {
    case .auth, .get: true
    case .exists(let keys), .delete(let keys): keys.count == 1
    default: false
    }
  }
}
