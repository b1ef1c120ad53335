internal import ArgumentParser
internal import FoundationEssentials
internal import KDNClient
internal import KDNCore
internal import KDNTransport
internal import KDNWire

/// What each command takes: where the daemon is and who asks.
struct CommonOptions: ParsableArguments {
  @Option(
    help: """
      HOST:PORT, tls://HOST:PORT, unix:///PATH or rdma://HOST:PORT; else from KDN_ADDRESS, else \
      127.0.0.1:9440.
      """)
  var address: String?
  @Option(
    help: """
      How bytes are moved: auto (the best that is there), tcp, unix, shm or rdma; else from \
      KDN_LINK, else auto. info tells which it became, and why. bench takes several, with commas \
      between.
      """)
  var link: LinkArguments?
  @Flag(help: "A token may go unencrypted over RDMA, to rdma://HOST:PORT.")
  var rdmaTrusted = false
  @Option(help: "The namespace; else from KDN_NAMESPACE, else default.")
  var namespace: String?
  @Option(help: "File that holds the token; else it is taken from KDN_TOKEN.")
  var tokenFile: String?
  @Flag(help: "Use TLS, as tls:// in the address does.")
  var tls = false
  @Option(
    help: """
      File with the authorities of the daemon's certificate; else from KDN_TLS_CA, else the \
      system's.
      """)
  var ca: String?
  @Option(help: "File with this client's certificate, for mutual TLS; else from KDN_TLS_CERT.")
  var cert: String?
  @Option(
    name: .customLong("key"),
    help: "File with that certificate's key, if it is another file; else from KDN_TLS_KEY.")
  var certificateKey: String?
  @Flag(help: "Write JSON.")
  var json = false

  /// Connects and greets the daemon, on the link asked for.
  func connect() throws -> Connection {
    let links = try linkArguments() ?? LinkArguments(choices: [.auto])
    guard links.choices.count == 1 else { throw ValidationError("--link takes one link here") }
    return try connect(on: links.choices[0])
  }

  /// Connects on a link and greets the daemon.
  func connect(on link: LinkChoice) throws -> Connection {
    try connect(to: try serverAddress(), on: link, tls: try tlsOptions())
  }

  /// Connects to `address` on a link and greets the daemon there.
  func connect(
    to address: ServerAddress, on link: LinkChoice, tls: TLSClientOptions?
  ) throws -> Connection {
    try Connection.open(
      address, namespace: NamespaceName(setting(namespace, "KDN_NAMESPACE") ?? "default"),
      token: token(), agent: "kdn/\(KDNCommand.version)", link: link, trustsRDMA: rdmaTrusted,
      tls: tls)
  }

  /// The links asked for by the option or by KDN_LINK, nil if none was.
  func linkArguments() throws -> LinkArguments? {
    if let link { return link }
    guard let text = setting(nil, "KDN_LINK") else { return nil }
    guard let links = LinkArguments(argument: text) else {
      throw ValidationError("KDN_LINK is '\(text)', not auto, tcp, unix, shm or rdma")
    }
    return links
  }

  private func tlsOptions() throws -> TLSClientOptions? {
    let address = try serverAddress()
    guard address.usesTLS || tls else {
      guard ca == nil, cert == nil, certificateKey == nil else {
        throw ValidationError("--ca, --cert and --key need --tls or an address with tls://")
      }
      return nil
    }
    guard case .tcp = address.endpoint, !address.usesRDMA else {
      throw ValidationError("--tls is for HOST:PORT, not for '\(address)'")
    }
    return TLSClientOptions(
      authoritiesPath: setting(ca, "KDN_TLS_CA"), certificatePath: setting(cert, "KDN_TLS_CERT"),
      keyPath: setting(certificateKey, "KDN_TLS_KEY"))
  }

  /// Connects and gives the verbs.
  func client() throws -> Client { Client(try connect()) }

  /// Where the daemon is.
  func serverAddress() throws -> ServerAddress {
    try ServerAddress(
      parsing: setting(address, "KDN_ADDRESS") ?? "127.0.0.1:9440", field: "address")
  }

  /// The token; arguments are visible to all users of a machine, so it is never one.
  private func token() throws -> String {
    guard let tokenFile else { return setting(nil, "KDN_TOKEN") ?? "" }
    let text = try String(contentsOfFile: tokenFile, encoding: .utf8)
    return String(text.drop(while: \.isWhitespace).prefix { !$0.isNewline })
  }

  /// The option, else the environment's variable unless that is empty.
  private func setting(_ option: String?, _ variable: String) -> String? {
    if let option { return option }
    let text = ProcessInfo.processInfo.environment[variable]
    return text == "" ? nil : text
  }
}
