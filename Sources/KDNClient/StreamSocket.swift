internal import CPlatform
internal import Glibc
internal import KDNCore
internal import KDNTransport

/// A connected socket that blocks, but never beyond the deadline of the request at hand.
///
/// The kernel's own timeouts do the waiting: a call that finds its bytes costs nothing more. Inside
/// TLS one call of ours may take many of the kernel's, so there the socket does not block, and the
/// waiting is done by `poll` with what is left of the time.
struct StreamSocket: ~Copyable {
  /// The kernel's timeouts are set anew when they are this far behind the deadline.
  private static let slackMilliseconds: UInt64 = 100
  /// Most pieces in one vectored write.
  static let piecesMax = 64

  /// The kernel's number; owned; negative where an RDMA connection takes a socket's place.
  let number: Int32
  /// The RDMA connection that takes a socket's place.
  let endpoint: RDMAEndpoint?
  /// Encrypts what goes and decrypts what comes; nil on a plain connection.
  let channel: TLSChannel?
  private let clock = SystemClock()
  /// When all calls of the request at hand must be over.
  private(set) var deadline = Instant.never
  /// Descriptors that came and nobody has taken.
  var passed = PassedDescriptors(limit: 1)
  /// Whether a descriptor may come with the next bytes; those that come unasked are dropped by the
  /// kernel.
  var expectsDescriptor = false
  /// When the kernel's timeouts were last set or found to be right, and to what.
  private var armedAt = Instant(nanoseconds: 0)
  private var armedMilliseconds: UInt64 = 0

  /// Takes over a connected socket, and makes it block.
  ///
  /// - Throws: `lost` if the kernel refuses.
  init(owning number: Int32) throws(ClientError) {
    self.number = number
    channel = nil
    endpoint = nil
    let flags = fcntl(number, F_GETFL)
    guard flags >= 0, fcntl(number, F_SETFL, flags & ~O_NONBLOCK) == 0 else {
      throw Self.failure("fcntl")
    }
  }

  /// Takes over a connected socket that does not block, and agrees on keys with the server.
  ///
  /// - Throws: `cannotConnect` if the server is not the one it has to be, or refuses; `deadline`.
  private init(
    owning socket: consuming Descriptor, over channel: TLSChannel, deadline: Instant
  ) throws(ClientError) {
    number = socket.release()
    self.channel = channel
    endpoint = nil
    self.deadline = deadline
    try shakeHands(over: channel)
  }

  /// Takes over an RDMA connection.
  init(over endpoint: RDMAEndpoint) {
    number = -1
    channel = nil
    self.endpoint = endpoint
  }

  deinit {
    endpoint?.close()
    if number >= 0 { _ = close(number) }
  }

  /// Connects to `endpoint`; with `tls` the connection is secured.
  ///
  /// - Throws: `cannotConnect` with the call that failed.
  init(
    connecting endpoint: Endpoint, timeoutMilliseconds: Int, tls: TLSClientOptions? = nil
  ) throws(ClientError) {
    let deadline = SystemClock().now().advanced(
      milliseconds: UInt64(clamping: timeoutMilliseconds))
    do {
      let address = try SocketAddress(endpoint)
      let socket = try Descriptor(
        "socket", kdn_socket(address.family), subject: endpoint.description)
      try Self.connect(socket.number, to: address, endpoint, timeoutMilliseconds)
      if address.family != AF_UNIX { try Self.sendAtOnce(socket.number) }
      guard let tls else {
        try self.init(owning: socket.release())
        return
      }
      let channel = try Self.makeChannel(on: socket.number, tls, for: endpoint)
      try self.init(owning: socket, over: channel, deadline: deadline)
    } catch let error as TransportError {
      throw .cannotConnect(error.description)
    } catch let error as ClientError {
      throw error
    } catch {
      throw .cannotConnect("\(error)")
    }
  }

  private static func connect(
    _ number: Int32, to address: SocketAddress, _ endpoint: Endpoint, _ timeoutMilliseconds: Int
  ) throws(TransportError) {
    let subject = endpoint.description
    guard address.connect(number) != 0 else { return }
    guard errno == EINPROGRESS || errno == EINTR else {
      throw TransportError("connect", code: errno, subject: subject)
    }
    let clock = SystemClock()
    let deadline = clock.now().advanced(milliseconds: UInt64(clamping: timeoutMilliseconds))
    var entry = pollfd(fd: number, events: Int16(POLLOUT), revents: 0)
    var ready: Int32 = 0
    repeat {
      let left = clock.now().milliseconds(until: deadline)
      ready = unsafe poll(&entry, 1, Int32(clamping: left))
    } while ready < 0 && errno == EINTR
    guard ready > 0 else {
      throw TransportError("connect", code: ready == 0 ? ETIMEDOUT : errno, subject: subject)
    }
    var code: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    guard unsafe getsockopt(number, SOL_SOCKET, SO_ERROR, &code, &size) == 0 else {
      throw TransportError("getsockopt", code: errno, subject: subject)
    }
    guard code == 0 else { throw TransportError("connect", code: code, subject: subject) }
  }

  private static func sendAtOnce(_ number: Int32) throws(TransportError) {
    var on: Int32 = 1
    let size = socklen_t(MemoryLayout<Int32>.size)
    guard unsafe setsockopt(number, Int32(IPPROTO_TCP), TCP_NODELAY, &on, size) == 0 else {
      throw TransportError("setsockopt", code: errno, subject: "TCP_NODELAY")
    }
  }

  // MARK: Time

  /// From now on all calls together take at most this long.
  mutating func allow(milliseconds: UInt64) throws(ClientError) {
    let now = clock.now()
    deadline = now.advanced(milliseconds: milliseconds)
    armedAt = now
    guard milliseconds != armedMilliseconds else { return }
    try arm(milliseconds)
  }

  private mutating func arm(_ milliseconds: UInt64) throws(ClientError) {
    guard channel == nil, endpoint == nil else { return }
    var time = timeval(
      tv_sec: Int(clamping: milliseconds / 1000), tv_usec: Int(milliseconds % 1000) * 1000)
    let size = socklen_t(MemoryLayout<timeval>.size)
    guard unsafe setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &time, size) == 0,
      unsafe setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &time, size) == 0
    else { throw Self.failure("setsockopt") }
    armedMilliseconds = milliseconds
  }

  /// Called before each wait: a server that drips bytes cannot stretch the deadline.
  mutating func check() throws(ClientError) {
    let now = clock.now()
    guard now < deadline else { throw .deadline }
    guard now.nanoseconds(since: armedAt) > Self.slackMilliseconds * 1_000_000 else { return }
    armedAt = now
    try arm(now.milliseconds(until: deadline))
  }

  /// Waits until the socket is ready for `events`.
  func wait(for events: Int32) throws(ClientError) {
    var entry = pollfd(fd: number, events: Int16(events), revents: 0)
    let left = clock.now().milliseconds(until: deadline)
    guard left > 0 else { throw .deadline }
    let ready = unsafe poll(&entry, 1, Int32(clamping: left))
    guard ready != 0 else { throw .deadline }
    if ready < 0 { try Self.tolerate("poll") }
  }

  /// Whether the server has ended the connection, as far as the kernel knows now.
  var isHungUp: Bool {
    var entry = pollfd(fd: number, events: Int16(POLLIN | Self.pollHangUp), revents: 0)
    guard unsafe poll(&entry, 1, 0) > 0 else { return false }
    return Int32(entry.revents) & (Self.pollHangUp | POLLHUP | POLLERR | POLLNVAL) != 0
  }

  /// POLLRDHUP, which the overlay does not have.
  private static let pollHangUp: Int32 = 0x2000

  // MARK: Bytes

  /// Receives into `first`, which must not be empty, and into `second` when `first` is full.
  ///
  /// - Returns: how many bytes came, 0 if the server has finished.
  /// - Throws: `deadline`, or `lost` if the connection broke.
  mutating func receive(
    into first: UnsafeMutableRawBufferPointer, then second: UnsafeMutableRawBufferPointer
  ) throws(ClientError) -> Int {
    if let endpoint { return unsafe try receive(over: endpoint, into: first, then: second) }
    if let channel {
      try check()
      return unsafe try receive(over: channel, into: first, then: second)
    }
    while true {
      try check()
      let number = number
      let count = unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { pieces in
        unsafe pieces[0] = iovec(iov_base: first.baseAddress, iov_len: first.count)
        unsafe pieces[1] = iovec(iov_base: second.baseAddress, iov_len: second.count)
        return unsafe kdn_receive(number, pieces.baseAddress, second.isEmpty ? 1 : 2)
      }
      if count >= 0 { return count }
      try Self.tolerate("recvmsg")
    }
  }

  /// Receives what is there into `buffer`, which must not be empty; waits if nothing is.
  ///
  /// - Returns: how many bytes came, 0 if the server has finished.
  /// - Throws: `deadline`, or `lost` if the connection broke.
  mutating func receive(
    into buffer: UnsafeMutableRawBufferPointer
  ) throws(ClientError) -> Int {
    let nowhere = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    if let endpoint { return unsafe try receive(over: endpoint, into: buffer, then: nowhere) }
    if let channel {
      try check()
      return unsafe try receive(over: channel, into: buffer, then: nowhere)
    }
    while true {
      try check()
      let count =
        if expectsDescriptor { unsafe passed.receive(from: number, into: buffer) } else {
          unsafe recv(number, buffer.baseAddress, buffer.count, 0)
        }
      if count >= 0 { return count }
      if expectsDescriptor, errno == EPROTO { throw Self.tooManyDescriptors }
      try Self.tolerate("recv")
    }
  }

  /// Sends all bytes of `pieces`, at most `piecesMax`; uses them up.
  ///
  /// - Throws: `deadline`, or `lost` if the connection broke.
  private mutating func send(_ pieces: UnsafeMutableBufferPointer<iovec>) throws(ClientError) {
    var next = 0
    while next < pieces.count {
      try check()
      let rest = unsafe UnsafeMutableBufferPointer(rebasing: pieces[next...])
      var sent =
        if let channel { unsafe try sendRecord(over: channel, rest) } else {
          unsafe kdn_send(number, rest.baseAddress, rest.count)
        }
      if sent < 0 {
        try Self.tolerate("sendmsg")
        continue
      }
      while next < pieces.count, unsafe sent >= pieces[next].iov_len {
        unsafe sent -= pieces[next].iov_len
        next += 1
      }
      guard sent > 0, next < pieces.count else { continue }
      unsafe pieces[next].iov_base += sent
      unsafe pieces[next].iov_len -= sent
    }
  }

  /// Sends all of `bytes`.
  ///
  /// - Throws: `deadline`, or `lost` if the connection broke.
  mutating func send(_ bytes: [UInt8]) throws(ClientError) {
    unsafe try send(bytes, [], [])
  }

  /// Sends all bytes of `front`, of `places` and of `back` in this order.
  ///
  /// - Throws: `deadline`, or `lost` if the connection broke.
  mutating func send(
    _ front: [UInt8], _ places: [UnsafeRawBufferPointer], _ back: [UInt8]
  ) throws(ClientError) {
    if let endpoint { return unsafe try send(over: endpoint, front, places, back) }
    var failure: ClientError?
    unsafe front.withUnsafeBytes { front in
      unsafe back.withUnsafeBytes { back in
        do throws(ClientError) {
          unsafe try send(front, places, back)
        } catch {
          failure = error
        }
      }
    }
    if let failure { throw failure }
  }

  private mutating func send(
    _ front: UnsafeRawBufferPointer, _ places: [UnsafeRawBufferPointer],
    _ back: UnsafeRawBufferPointer
  ) throws(ClientError) {
    var failure: ClientError?
    unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: Self.piecesMax) { pieces in
      var count = 0
      func add(_ bytes: UnsafeRawBufferPointer) {
        guard unsafe !bytes.isEmpty else { return }
        unsafe pieces[count] = iovec(
          iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
        count += 1
      }
      unsafe add(front)
      for index in unsafe places.indices { unsafe add(places[index]) }
      unsafe add(back)
      do throws(ClientError) {
        unsafe try send(UnsafeMutableBufferPointer(rebasing: pieces[..<count]))
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
  }

  /// Nothing can be sent or received any more; whoever waits in another process sees the end.
  func shutDown() {
    endpoint?.close()
    channel?.sayGoodbye()
    guard number >= 0 else { return }
    _ = shutdown(number, Int32(SHUT_RDWR))
  }

  /// What secures the connection, such as `TLS_AES_128_GCM_SHA256`; nil if nothing does.
  var cipherSuite: String? { channel?.cipherSuite }

  private static let tooManyDescriptors = ClientError.protocolFault(
    .header(FieldFault("descriptors", value: 2, limit: 1, "more descriptors than were asked for")))

  /// Whether a failed call may be tried again; throws what it means otherwise.
  static func tolerate(_ call: String) throws(ClientError) {
    switch errno {
    case EINTR: return
    case EAGAIN: throw .deadline
    default: throw failure(call)
    }
  }

  private static func failure(_ call: String) -> ClientError {
    .lost(TransportError(call, code: errno).description)
  }
}
