package import KDNCore
package import KDNTransport

/// Sockets that a supervisor listens on and handed to this process by `LISTEN_FDS`.
package struct PassedSockets: Sendable {
  /// Most sockets.
  static let countMax = 64
  /// Variables that tell of them; they concern this process only.
  package static let variables = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]

  /// One socket and how clients speak over it.
  package struct Entry: Sendable {
    /// TCP, TLS, Unix or RESP.
    package let kind: LinkKind
    /// The listening socket.
    package let socket: PassedSocket
  }

  /// The sockets in their order.
  package let entries: [Entry]

  /// No sockets.
  package init() { entries = [] }

  /// Reads what `environment` says and looks at each descriptor; none if it speaks of another
  /// process.
  ///
  /// - Throws: a fault that names the variable: no number, too many, a name other than `tcp`,
  ///   `tls`, `unix` and `resp`, or a descriptor that is no such socket.
  package init(environment: [String: String], pid: Int32) throws(FieldFault) {
    guard let text = environment["LISTEN_FDS"],
      environment["LISTEN_PID"].flatMap({ Int32($0) }) == pid
    else {
      entries = []
      return
    }
    guard let count = Int(text), (0...Self.countMax).contains(count) else {
      throw FieldFault(
        "LISTEN_FDS", value: text.utf8.count, limit: Self.countMax, "'\(text)' is no such number")
    }
    let names = environment["LISTEN_FDNAMES"].map { text in
      text.split(separator: ":", omittingEmptySubsequences: false).map { String($0) }
    }
    if let names, names.count != count {
      throw FieldFault(
        "LISTEN_FDNAMES", value: names.count, limit: count, "one name for each descriptor")
    }
    var entries: [Entry] = []
    for index in 0..<count {
      let socket = try Self.socket(PassedSocket.firstNumber + Int32(index))
      entries.append(Entry(kind: try Self.kind(names?[index], socket), socket: socket))
    }
    self.entries = entries
  }

  /// Kind and address of each, for the configuration.
  package var endpoints: [(kind: LinkKind, endpoint: Endpoint)] {
    entries.map { ($0.kind, $0.socket.endpoint) }
  }

  private static func socket(_ number: Int32) throws(FieldFault) -> PassedSocket {
    do {
      return try PassedSocket(number: number)
    } catch {
      throw FieldFault("LISTEN_FDS", value: Int(number), limit: 0, "\(error)")
    }
  }

  /// What a socket is for; never guessed between TCP and TLS if it has a name.
  private static func kind(
    _ name: String?, _ socket: PassedSocket
  ) throws(FieldFault) -> LinkKind {
    let isUnix = if case .unix = socket.endpoint { true } else { false }
    guard let name else { return isUnix ? .unix : .tcp }
    guard let kind = LinkKind(rawValue: name), kind.isSocket else {
      throw FieldFault(
        "LISTEN_FDNAMES", value: name.utf8.count, limit: 0,
        "'\(name)' is none of tcp, tls, unix, resp; say so with FileDescriptorName=")
    }
    guard (kind == .unix) == isUnix else {
      throw FieldFault(
        "LISTEN_FDNAMES", value: 0, limit: 0, "'\(name)' is the name of \(socket.endpoint)")
    }
    return kind
  }
}
