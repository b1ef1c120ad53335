package import KDNCore
package import KDNTransport
package import KDNWire

/// A blocking connection to a daemon, in one namespace.
///
/// It is used by one thread at a time; whoever wants more requests at once opens more connections.
/// After an error that ends the connection, each further call throws the same error.
package final class Connection {
  /// What the server granted.
  package let hello: HelloResponse
  /// How payload is moved, and why so.
  package internal(set) var link: ClientLink
  /// Whether the bytes of each GET are checked against the server's checksum; true at first.
  package var verifies = true
  /// Told of each piece of an object that is sent or received: bytes that are behind, and of how
  /// many; an object that no room was given for counts, too.
  package var progress: ((_ doneBytes: Int, _ totalBytes: Int) -> Void)?
  /// The error that ended the connection, nil while it is open.
  package private(set) var ending: ClientError?
  /// What secures the connection, such as `TLS_AES_128_GCM_SHA256`; nil if nothing does.
  package var cipherSuite: String? { socket.cipherSuite }
  /// Whether requests can be made.
  package var isOpen: Bool { ending == nil }

  var socket: StreamSocket
  var source: FrameSource
  var machine: ClientMachine
  var encoder = FrameEncoder()
  /// Frames that the next send takes along.
  var outgoing = ByteWriter(capacity: 4096)
  /// Frames in front of the bytes that are being sent.
  var front = ByteWriter(capacity: 4096)
  var checksum = StreamingChecksum()
  /// Slabs of the server that are mapped.
  var slabs = SlabViews()
  /// Whether the server has refused to pass a slab.
  ///
  /// It may be short of memory that clients keep mapped. What it counts for this connection ends
  /// with the connection, so whoever keeps connections for long makes a new one once no lease is
  /// held.
  package internal(set) var isSlabRefused = false
  /// The window through which objects are stored, once it is open.
  var window: PutWindow?
  /// Whether the server has refused a window; it is not asked again.
  var isWindowRefused = false
  /// Memory that the caller has registered.
  var regions = RegisteredRegions()
  /// Memory that the stores under way lend to the server.
  var lent: [RemoteLoan] = []
  /// Requests whose answers nobody waits for.
  var unawaited: Set<UInt64> = []
  /// Told to those who hold leases of this connection.
  let life = ConnectionLife()
  private var measure = ByteWriter(capacity: 4096)
  /// Why the server goes away, once it has said so.
  private var departure: ClientError?
  private let graceMilliseconds: UInt64

  /// Longest fields of a request whose names are counted by `nameCount`.
  private static let factBytesMax = 1024
  /// How much longer than the deadline the answer may be on its way, in milliseconds.
  package static let graceMillisecondsDefault: UInt64 = 500

  /// Connects to `endpoint` and greets the server, both within `connectTimeoutMilliseconds`; with
  /// `tls` the server must show a certificate for its name.
  ///
  /// - Throws: `cannotConnect`, `refused` with the answer to HELLO, or whatever ends a connection.
  package convenience init(
    _ endpoint: Endpoint, namespace: NamespaceName, token: String = "", agent: String = "kdn",
    connectTimeoutMilliseconds: Int = 5_000, tls: TLSClientOptions? = nil
  ) throws(ClientError) {
    let socket = try StreamSocket(
      connecting: endpoint, timeoutMilliseconds: connectTimeoutMilliseconds, tls: tls)
    let hello = HelloRequest(namespace: namespace, token: token, agent: agent)
    try self.init(
      over: socket, hello, timeoutMilliseconds: UInt64(clamping: connectTimeoutMilliseconds),
      graceMilliseconds: Self.graceMillisecondsDefault,
      link: ClientLink(addressed: endpoint, usesTLS: tls != nil))
  }

  /// Takes over the connected stream socket `number` and greets the server.
  ///
  /// - Throws: `refused` with the answer to HELLO, or whatever ends a connection.
  package convenience init(
    owning number: Int32, _ hello: HelloRequest, timeoutMilliseconds: UInt64 = 5_000,
    graceMilliseconds: UInt64 = Connection.graceMillisecondsDefault,
    link: ClientLink = ClientLink(.unix, address: "", reason: "a socket of the caller's")
  ) throws(ClientError) {
    try self.init(
      over: StreamSocket(owning: number), hello, timeoutMilliseconds: timeoutMilliseconds,
      graceMilliseconds: graceMilliseconds, link: link)
  }

  /// Takes over a connected stream and greets the server.
  ///
  /// - Throws: `refused` with the answer to HELLO, or whatever ends a connection.
  init(
    over open: consuming StreamSocket, _ request: HelloRequest, timeoutMilliseconds: UInt64,
    graceMilliseconds: UInt64, link: ClientLink
  ) throws(ClientError) {
    var socket = open
    var source = FrameSource()
    var machine = ClientMachine()
    hello = try Self.greet(
      request, timeoutMilliseconds: timeoutMilliseconds, &socket, &source, &machine)
    guard hello.limits.maxBodyBytes >= PutBeginRequest.byteCount else {
      let fault = FieldFault(
        "maxBodyBytes", value: hello.limits.maxBodyBytes, limit: PutBeginRequest.byteCount,
        "too short for a store")
      throw .protocolFault(.body(requestID: 1, .hello, fault))
    }
    source.accept(hello.limits)
    self.socket = socket
    self.source = source
    self.machine = machine
    self.graceMilliseconds = graceMilliseconds
    self.link = link
  }

  deinit { life.end() }

  private static func greet(
    _ request: HelloRequest, timeoutMilliseconds: UInt64, _ socket: inout StreamSocket,
    _ source: inout FrameSource, _ machine: inout ClientMachine
  ) throws(ClientError) -> HelloResponse {
    try socket.allow(milliseconds: timeoutMilliseconds)
    guard let id = machine.begin(.hello(request)) else {
      preconditionFailure("a fresh connection may say HELLO")
    }
    var frame = ByteWriter(capacity: 1024)
    var encoder = FrameEncoder()
    encoder.request(.hello(request), id: id, to: &frame)
    try socket.send(frame.bytes)
    while true {
      switch try source.next(from: &socket, for: &machine) {
      case .response(_, .hello(let hello)): return hello
      case .refused(_, _, let status, let body): throw .refused(status, body)
      case .goAway(let status, let body): throw .goAway(status, body)
      case .skip: try source.skipPayload(from: &socket)
      case .response, .items, .payload:
        preconditionFailure("the machine gives no other event before HELLO is answered")
      }
    }
  }

  /// Makes a request that is answered by one frame without payload.
  ///
  /// That is anything but HELLO, GET, the requests of a store and those that pass descriptors. A
  /// deadline of 0 is the server's default.
  ///
  /// - Throws: `refused`, `unsendable`, or whatever ends the connection.
  package func request(
    _ request: Request, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> Response {
    switch request {
    case .hello, .get, .putBegin, .putData, .putCommit, .putAbort, .mapSlab, .openWindow:
      preconditionFailure("not a request with one plain answer")
    case .codecProfile(let profile) where profile.bearsPayload:
      preconditionFailure("not a request with one plain answer")
    default: break
    }
    return try guarded { () throws(ClientError) in
      try start(deadlineMilliseconds: deadlineMilliseconds)
      try awaitRoom()
      let id = try encode(request, deadlineMilliseconds)
      try send()
      while true {
        switch try nextEvent() {
        case .response(id, let response): return response
        case .refused(id, _, let status, let body): throw .refused(status, body)
        case let other: try pass(over: other)
        }
      }
    }
  }

  /// Closes the connection; further calls throw `lost`.
  package func close() { end(with: .lost("closed by this client")) }

  // MARK: What GET and PUT share

  /// Runs `body`, and ends the connection if it throws what no connection survives.
  func guarded<Result>(
    _ body: () throws(ClientError) -> Result
  ) throws(ClientError) -> Result {
    if let ending { throw ending }
    do {
      return try body()
    } catch {
      guard error.endsConnection else { throw error }
      // What the server said before it closed tells more than the end of the stream.
      let cause = if case .lost = error { departure ?? lastWords() ?? error } else { error }
      end(with: cause)
      throw cause
    }
  }

  private func end(with error: ClientError) {
    guard ending == nil else { return }
    ending = error
    life.end()
    machine.close()
    // From here on no server reaches the caller's memory.
    socket.shutDown()
    lent.removeAll()
  }

  /// Begins to count the time of a request, which the server and the way back have together.
  func start(deadlineMilliseconds: UInt32) throws(ClientError) {
    let milliseconds =
      deadlineMilliseconds == 0
      ? UInt64(hello.limits.defaultDeadlineMilliseconds) : UInt64(deadlineMilliseconds)
    try socket.allow(milliseconds: milliseconds + graceMilliseconds)
  }

  /// Appends a request's frame to `outgoing`; returns its id.
  func encode(
    _ request: Request, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> UInt64 {
    try checkSize(of: request)
    if let departure { throw departure }
    guard let id = machine.begin(request) else { throw .lost("the connection takes no request") }
    encoder.request(request, id: id, deadlineMilliseconds: deadlineMilliseconds, to: &outgoing)
    return id
  }

  /// A longer body would cost the connection.
  private func checkSize(of request: Request) throws(ClientError) {
    // Few names fit for certain, and most requests have few: only others are measured.
    guard request.nameCount * ObjectKey.byteCount + Self.factBytesMax > hello.limits.maxBodyBytes
    else { return }
    measure.removeAll()
    request.write(to: &measure)
    guard measure.count <= hello.limits.maxBodyBytes else {
      let fault = FieldFault(
        "bodyLength", value: measure.count, limit: hello.limits.maxBodyBytes, "body too long")
      throw .unsendable(fault)
    }
  }

  /// Sends what lies in `outgoing`.
  func send() throws(ClientError) {
    try socket.send(outgoing.bytes)
    outgoing.removeAll()
  }

  /// The next frame, while no payload is expected.
  func nextEvent() throws(ClientError) -> ClientMachine.Event {
    try source.next(from: &socket, for: &machine)
  }

  /// Deals with a frame that answers nothing: GOAWAY is remembered, for answers may still come.
  func pass(over event: ClientMachine.Event) throws(ClientError) {
    switch event {
    case .goAway(let status, let body): departure = .goAway(status, body)
    case .skip: try source.skipPayload(from: &socket)
    case .response(let id, _) where unawaited.contains(id),
      .refused(let id, _, _, _) where unawaited.contains(id):
      unawaited.remove(id)
      window?.ring.answered(id)
    case .response, .refused, .items, .payload:
      throw .lost("an answer came that nobody waits for")
    }
  }

  /// Why the server closed, if that lies in the socket still: a send fails before it is read.
  private func lastWords() -> ClientError? {
    guard source.payloadRemaining == 0 else { return nil }
    do throws(ClientError) {
      try socket.allow(milliseconds: Self.lastWordsMilliseconds)
      while true {
        if case .goAway(let status, let body) = try nextEvent() { return .goAway(status, body) }
        if source.payloadRemaining > 0 { return nil }
      }
    } catch {
      return nil
    }
  }

  /// How long is waited for the reason of a broken connection.
  private static let lastWordsMilliseconds: UInt64 = 50
}

extension Request {
  /// How many keys, hashes or parts the request names; more than any limit where that says nothing
  /// of its length.
  fileprivate var nameCount: Int {
    switch self {
    case .match(let match): match.hashes.count + match.parts.count
    case .exists(let keys), .touch(let keys), .unpin(let keys), .prefetch(let keys):
      keys.keys.count
    case .pin(let pin): pin.keys.count
    case .putBegin, .putData, .putCommit, .putAbort, .release, .stats, .mapSlab, .openWindow,
      .linkTicket, .codecProfile:
      0
    case .hello, .layout, .get, .purge, .document, .compose, .edit, .work: 1 << 32
    }
  }
}
