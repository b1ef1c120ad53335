internal import KDNCore
internal import KDNTransport

extension SettingParser {
  /// Longest name of a host, in bytes.
  private static let hostBytesMax = 253
  private static let hostsMax = 64

  /// TCP and Unix listeners; sockets that were passed stand in for the addresses of their kind.
  mutating func plainEndpoints(_ passed: [(kind: LinkKind, endpoint: Endpoint)]) -> [Endpoint] {
    let texts = texts("tcp")
    let path = text("unix")
    let passedTCP = passed.filter { $0.kind == .tcp }.map(\.endpoint)
    let passedUnix = passed.filter { $0.kind == .unix }.map(\.endpoint)
    let tcp = passedTCP.isEmpty ? addresses(texts, "tcp") : passedTCP
    guard passedUnix.isEmpty else { return tcp + passedUnix }
    guard !path.isEmpty else { return tcp }
    let unix = noting { _ throws(FieldFault) in try Endpoint(parsingUnix: path, field: "unix") }
    return tcp + [unix].compactMap { $0 }
  }

  mutating func addresses(_ texts: [String], _ key: String) -> [Endpoint] {
    texts.compactMap { text in
      noting { _ throws(FieldFault) in try Endpoint(parsingTCP: text, field: key) }
    }
  }

  /// A daemon that listens nowhere is a mistake.
  mutating func requireListener(_ endpoints: [Endpoint]) {
    guard endpoints.isEmpty, faults.isEmpty else { return }
    note(FieldFault("tcp", value: 0, limit: 1, "nothing to listen on"))
  }

  /// Permission bits in octal: read and write for owner, group and others.
  mutating func mode(_ key: String) -> UInt32 {
    let text = text(key)
    guard let mode = UInt32(text, radix: 8), mode & ~0o777 == 0 else {
      note(FieldFault(key, value: text.utf8.count, limit: 4, "'\(text)' is not such as 0660"))
      return 0o600
    }
    return mode
  }

  /// The path of a file, nil if there is none; absolute, since a daemon's folder is a matter of
  /// chance.
  mutating func path(_ key: String) -> String? {
    let text = text(key)
    guard !text.isEmpty else { return nil }
    guard text.hasPrefix("/"), text.utf8.count < 4096, !text.utf8.contains(0) else {
      note(FieldFault(key, value: text.utf8.count, limit: 4095, "'\(text)' is no absolute path"))
      return nil
    }
    return text
  }

  /// Memory shared with clients on this host.
  mutating func sharedMemory() -> SharedMemorySettings {
    let isWanted = choice("shm", ["auto": true, "off": false], else: true)
    let texts = texts("shm_uids")
    let users = texts.compactMap { text -> UInt32? in
      // The highest number stands for nobody in the kernel's calls.
      guard let user = UInt32(text), user != .max else {
        note(FieldFault("shm_uids", value: text.utf8.count, limit: 10, "'\(text)' is no user id"))
        return nil
      }
      return user
    }
    if texts.count > SharedMemorySettings.usersMax {
      note(
        FieldFault(
          "shm_uids", value: texts.count, limit: SharedMemorySettings.usersMax, "too many"))
    }
    return SharedMemorySettings(
      isWanted: isWanted, users: Set(users),
      window: size("shm_window", SharedMemorySettings.windowBytes))
  }

  /// Listeners for the fabric.
  mutating func rdma() -> RDMASettings {
    RDMASettings(
      endpoints: addresses(texts("rdma"), "rdma"),
      isTrusted: choice("rdma_trusted", ["yes": true, "no": false], else: false))
  }

  /// Listeners with TLS and their files.
  mutating func tls(passed: [Endpoint]) -> TLSSettings {
    let texts = texts("tls")
    let endpoints = passed.isEmpty ? addresses(texts, "tls") : passed
    let settings = TLSSettings(
      endpoints: endpoints, certificatePath: path("tls_certificate"), keyPath: path("tls_key"),
      clientCAPath: path("tls_client_ca"))
    let isWanted = !endpoints.isEmpty
    if settings.certificatePath == nil, isWanted || settings.keyPath != nil {
      note(FieldFault("tls_certificate", value: 0, limit: 1, "TLS needs a certificate"))
    }
    if settings.keyPath == nil, isWanted || settings.certificatePath != nil {
      note(FieldFault("tls_key", value: 0, limit: 1, "TLS needs the certificate's key"))
    }
    if settings.clientCAPath != nil, settings.certificatePath == nil {
      note(FieldFault("tls_client_ca", value: 1, limit: 0, "has no use without tls_certificate"))
    }
    return settings
  }

  /// The HTTP endpoint; whoever can reach it from another host must be known.
  mutating func admin() -> AdminSettings {
    let endpoints = addresses(texts("admin"), "admin")
    let settings = AdminSettings(
      endpoints: endpoints.compactMap { endpoint in
        guard case .tcp(let host, let port) = endpoint else { return nil }
        return (host, Int(port))
      },
      hosts: hosts("admin_hosts"), administrators: administrators("admin_tokens"))
    if settings.administrators.isEmpty, !endpoints.allSatisfy(\.isLoopback) {
      note(
        FieldFault(
          "admin_tokens", value: 0, limit: 1,
          "an endpoint that other hosts reach serves nobody without a token"))
    }
    return settings
  }

  private mutating func hosts(_ key: String) -> [String] {
    let hosts = texts(key)
    if hosts.count > Self.hostsMax {
      note(FieldFault(key, value: hosts.count, limit: Self.hostsMax, "too many"))
    }
    for host in hosts where !Self.isHost(host) {
      note(
        FieldFault(
          key, value: host.utf8.count, limit: Self.hostBytesMax, "'\(host)' is no host name"))
    }
    return hosts
  }

  private static func isHost(_ text: String) -> Bool {
    (1...hostBytesMax).contains(text.utf8.count)
      && text.utf8.allSatisfy {
        switch $0 {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"),
          UInt8(ascii: "_"), UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]"):
          true
        default: false
        }
      }
  }

  private mutating func administrators(_ key: String) -> [Administrator] {
    let found = texts(key).compactMap { text in
      noting { _ throws(FieldFault) in try Administrator(parsing: text, field: key) }
    }
    if found.count > Administrator.countMax {
      note(FieldFault(key, value: found.count, limit: Administrator.countMax, "too many"))
    }
    for (index, one) in found.enumerated()
    where found[..<index].contains(where: { $0.token == one.token }) {
      note(FieldFault(key, value: 2, limit: 1, "two administrators share a token"))
    }
    return found
  }
}
