import Glibc
import KDNCore
import KDNTransport
import KDNWire

/// A client that sends what a test says, frame by frame, under ids that the test chooses.
final class RawClient {
  /// What came back, its payload dropped.
  struct Frame {
    let header: FrameHeader
    let body: [UInt8]

    var status: Status? { Status(rawValue: header.status) }

    /// What an error or a GOAWAY says.
    func error() throws -> ErrorBody {
      var reader = ByteReader(body)
      return try ErrorBody(from: &reader)
    }
  }

  struct Broken: Error {}

  private let number: Int32
  /// What the server passed over a Unix socket, in order.
  private var passed = PassedDescriptors()
  private var encoder = FrameEncoder()

  /// Connects to a TCP endpoint on this host, enters the development namespace under id 1.
  convenience init(_ endpoint: Endpoint) throws {
    try self.init(silent: endpoint)
    guard try hello().status == .ok else { throw Broken() }
  }

  /// Connects to an endpoint on this host and says nothing yet.
  init(silent endpoint: Endpoint) throws {
    let isConnected: Bool
    switch endpoint {
    case .tcp(_, let port):
      number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
      isConnected = Self.connect(number, &address)
    case .unix(let path):
      number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      isConnected = Self.connect(number, &address)
    }
    Self.limitPatience(number)
    guard isConnected else { throw Broken() }
  }

  /// Takes over a connected socket and says nothing yet.
  init(owning number: Int32) {
    self.number = number
    Self.limitPatience(number)
  }

  private static func limitPatience(_ number: Int32) {
    var patience = timeval(tv_sec: 120, tv_usec: 0)
    setsockopt(
      number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(number) }

  private static func connect<Address>(_ number: Int32, _ address: inout Address) -> Bool {
    let size = socklen_t(MemoryLayout<Address>.size)
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(number, $0, size) == 0
      }
    }
  }

  /// Says HELLO under id 1 and returns what comes back.
  func hello(_ namespace: String = "default", token: String = "") throws -> Frame {
    try ask(.hello(HelloRequest(namespace: NamespaceName(namespace), token: token)), id: 1)
    return try receive()
  }

  /// Says HELLO with a ticket under id 1 and returns what comes back.
  func hello(_ namespace: String = "default", ticket: LinkTicket) throws -> Frame {
    try ask(.hello(HelloRequest(namespace: NamespaceName(namespace), ticket: ticket)), id: 1)
    return try receive()
  }

  /// Sends a request and returns what comes back next.
  func exchange(_ request: Request, id: UInt64) throws -> Frame {
    try ask(request, id: id)
    return try receive()
  }

  /// The oldest descriptor that the server passed; the caller closes it.
  func nextDescriptor() -> Int32? { passed.next() }
  /// How many descriptors nobody has taken.
  var descriptorCount: Int { passed.count }

  /// Whether the server has ended the stream in good order, with nothing more to read.
  func isAtEnd() -> Bool {
    var byte: UInt8 = 0
    return recv(number, &byte, 1, 0) == 0
  }

  /// Sends several requests in one write, under one id or under ids from it on.
  func ask(_ requests: [Request], id: UInt64, step: UInt64 = 0) throws {
    var writer = ByteWriter()
    for (number, request) in requests.enumerated() {
      encoder.request(
        request, id: id + UInt64(number) * step, deadlineMilliseconds: 0, payloadLength: 0,
        to: &writer)
    }
    try write(writer.bytes[...])
  }

  /// Sends a request, with payload for PUT_DATA.
  func ask(
    _ request: Request, id: UInt64, deadlineMilliseconds: UInt32 = 0, payload: [UInt8] = []
  ) throws {
    var writer = ByteWriter()
    encoder.request(
      request, id: id, deadlineMilliseconds: deadlineMilliseconds, payloadLength: payload.count,
      to: &writer)
    try write((writer.bytes + payload)[...])
  }

  private func write(_ bytes: ArraySlice<UInt8>) throws {
    var rest = bytes
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes {
        send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { throw Broken() }
      rest = rest.dropFirst(sent)
    }
  }

  /// BEGIN, all bytes and COMMIT at once; the deadline is COMMIT's.
  func put(
    _ facts: PutBeginRequest, _ bytes: [UInt8], id: UInt64, commitID: UInt64,
    deadlineMilliseconds: UInt32 = 0
  ) throws {
    try ask(.putBegin(facts), id: id)
    try ask(.putData(PutDataRequest(transferID: id, offset: 0)), id: id, payload: bytes)
    let commit = PutCommitRequest(transferID: id, checksum: Checksum(of: bytes))
    try ask(.putCommit(commit), id: commitID, deadlineMilliseconds: deadlineMilliseconds)
  }

  /// The next frame from the server.
  func receive() throws -> Frame {
    var reader = ByteReader(try take(FrameHeader.byteCount))
    let header = try FrameHeader(from: &reader)
    let body = try take(header.bodyLength)
    _ = try take(header.payloadLength)
    return Frame(header: header, body: body)
  }

  private func take(_ count: Int) throws -> [UInt8] {
    guard count > 0 else { return [] }
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let received = bytes.withUnsafeMutableBytes {
        passed.receive(from: number, into: UnsafeMutableRawBufferPointer(rebasing: $0[done...]))
      }
      guard received > 0 else { throw Broken() }
      done += received
    }
    return bytes
  }
}
