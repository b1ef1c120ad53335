internal import CRDMACM
internal import Glibc

/// What the connection manager tells, copied out and acknowledged.
struct RDMAEvent {
  /// The kind of event.
  let kind: rdma_cm_event_type
  /// The library's name for the connection.
  let connection: UInt
  /// An errno, or the reason why the other side said no.
  let status: Int32
  /// What the other side said while connecting; empty with other events.
  let privateData: [UInt8]
  /// Reads of the other side that this one may have to serve at once.
  let responderResources: UInt8
  /// Reads that this side may have under way at once.
  let initiatorDepth: UInt8

  /// The event in words.
  var text: String {
    let name = unsafe String(cString: rdma_event_str(kind))
    return status == 0 ? name : "\(name) (\(status))"
  }
}

/// Where the connection manager tells what happens; non-blocking.
// Safe because: the pointer never changes, and the library's calls on it are made for threads.
@safe final class RDMAEventChannel: @unchecked Sendable {
  fileprivate let pointer: UnsafeMutablePointer<rdma_event_channel>

  /// Opens a channel.
  ///
  /// - Throws: `noDriver` where the kernel has no RDMA.
  init() throws(RDMAFault) {
    errno = 0
    guard let pointer = unsafe rdma_create_event_channel() else {
      let code = errno
      guard code != EMFILE, code != ENFILE, code != ENOMEM else {
        throw .system(call: "rdma_create_event_channel", code: code, subject: "")
      }
      throw .noDriver(call: "rdma_create_event_channel", code: code)
    }
    unsafe self.pointer = pointer
    let flags = fcntl(number, F_GETFL)
    guard fcntl(number, F_SETFL, flags | O_NONBLOCK) == 0 else {
      let fault = RDMAFault.last("fcntl")
      unsafe rdma_destroy_event_channel(pointer)
      throw fault
    }
    _ = fcntl(number, F_SETFD, FD_CLOEXEC)
  }

  deinit { unsafe rdma_destroy_event_channel(pointer) }

  /// The descriptor that can be read when there is an event.
  var number: Int32 { unsafe pointer.pointee.fd }

  /// Takes the next event; nil if there is none now.
  func next() -> RDMAEvent? {
    var taken: UnsafeMutablePointer<rdma_cm_event>?
    guard unsafe rdma_get_cm_event(pointer, &taken) == 0, let event = unsafe taken else {
      return nil
    }
    // What is kept is copied first, since nothing of an event may be touched once acknowledged;
    // and it is acknowledged here, since a connection cannot be destroyed before.
    defer { _ = unsafe rdma_ack_cm_event(event) }
    let kind = unsafe event.pointee.event
    let isGreeting = kind == RDMA_CM_EVENT_CONNECT_REQUEST || kind == RDMA_CM_EVENT_ESTABLISHED
    let parameters = unsafe event.pointee.param.conn
    let data = unsafe UnsafeRawBufferPointer(
      start: isGreeting ? parameters.private_data : nil,
      count: isGreeting && parameters.private_data != nil
        ? Int(parameters.private_data_len) : 0)
    return RDMAEvent(
      kind: kind, connection: unsafe UInt(bitPattern: event.pointee.id),
      status: unsafe event.pointee.status, privateData: unsafe Array(data),
      responderResources: unsafe isGreeting ? parameters.responder_resources : 0,
      initiatorDepth: unsafe isGreeting ? parameters.initiator_depth : 0)
  }
}

/// The connection manager's half of a connection, or of a listener.
// Safe because: the pointer never changes, and it stays with one loop or one thread.
@safe final class RDMAIdentifier {
  let pointer: UnsafeMutablePointer<rdma_cm_id>
  let channel: RDMAEventChannel
  private var isConnected = false

  /// Makes a fresh one whose events come on `channel`.
  init(on channel: RDMAEventChannel) throws(RDMAFault) {
    var made: UnsafeMutablePointer<rdma_cm_id>?
    guard unsafe rdma_create_id(channel.pointer, &made, nil, RDMA_PS_TCP) == 0,
      let pointer = unsafe made
    else { throw .last("rdma_create_id") }
    unsafe self.pointer = pointer
    self.channel = channel
  }

  /// Takes over the one that a connection request brought; nil if the event brought none.
  init?(requestedBy event: RDMAEvent, on channel: RDMAEventChannel) {
    guard let pointer = unsafe UnsafeMutablePointer<rdma_cm_id>(bitPattern: event.connection)
    else { return nil }
    unsafe self.pointer = pointer
    self.channel = channel
  }

  deinit { _ = unsafe rdma_destroy_id(pointer) }

  /// The library's name for it, which its events carry.
  var name: UInt { unsafe UInt(bitPattern: pointer) }

  /// Says who connects, before that connection is asked for or accepted.
  func willConnect() { isConnected = true }

  /// Ends the connection: the device works nothing off any more; does it once.
  func disconnect() {
    guard isConnected else { return }
    isConnected = false
    _ = unsafe rdma_disconnect(pointer)
  }

  /// Whom the connection leads to.
  var peerAddress: PeerAddress {
    guard let address = unsafe rdma_get_peer_addr(pointer) else { return .unknown }
    let raw = UnsafeRawPointer(address)
    switch unsafe Int32(address.pointee.sa_family) {
    case AF_INET:
      // Safe because: the library's structure has room for an address of each family.
      let peer = unsafe raw.load(as: sockaddr_in.self)
      return .ipv4(UInt32(bigEndian: peer.sin_addr.s_addr))
    case AF_INET6:
      // Safe because: the address lies at byte 8 of the structure, with 16 bytes.
      let upper = unsafe UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      let lower = unsafe UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
      return PeerAddress(upper: upper, lower: lower)
    default: return .unknown
    }
  }

  // MARK: Addresses

  /// Binds to an address of this machine.
  ///
  /// - Throws: the call that failed, with `endpoint` as its subject.
  func bind(to endpoint: Endpoint) throws(RDMAFault) {
    let result = unsafe try withAddress(of: endpoint) { unsafe rdma_bind_addr(pointer, $0) }
    guard result == 0 else { throw .last("rdma_bind_addr", "\(endpoint)") }
  }

  /// Begins to look for the device that leads to an address.
  ///
  /// - Throws: the call that failed, with `endpoint` as its subject.
  func resolve(_ endpoint: Endpoint, milliseconds: Int32) throws(RDMAFault) {
    let result = unsafe try withAddress(of: endpoint) {
      unsafe rdma_resolve_addr(pointer, nil, $0, milliseconds)
    }
    guard result == 0 else { throw .last("rdma_resolve_addr", "\(endpoint)") }
  }

  /// `endpoint` with the port that it was really bound to.
  func bound(_ endpoint: Endpoint) -> Endpoint {
    guard case .tcp(let host, _) = endpoint else { return endpoint }
    return .tcp(host: host, port: UInt16(bigEndian: unsafe rdma_get_src_port(pointer)))
  }

  /// Says no to a connection request.
  func reject() { _ = unsafe rdma_reject(pointer, nil, 0) }

  private func withAddress(
    of endpoint: Endpoint, _ body: (UnsafeMutablePointer<sockaddr>) -> Int32
  ) throws(RDMAFault) -> Int32 {
    guard case .tcp = endpoint else {
      throw .system(call: "rdma_bind_addr", code: EAFNOSUPPORT, subject: "\(endpoint)")
    }
    do throws(TransportError) {
      let address = try SocketAddress(endpoint)
      // Safe because: the library reads the address and does not change it.
      return unsafe address.withPointer { start, _ in
        unsafe body(UnsafeMutablePointer(mutating: start))
      }
    } catch {
      throw .system(call: error.call, code: error.code, subject: error.subject)
    }
  }
}
