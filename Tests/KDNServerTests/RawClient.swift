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
  private var encoder = FrameEncoder()

  /// Connects to a TCP endpoint on this host, enters the development namespace under id 1.
  convenience init(_ endpoint: Endpoint) throws {
    try self.init(silent: endpoint)
    guard try hello().status == .ok else { throw Broken() }
  }

  /// Connects to a TCP endpoint on this host and says nothing yet.
  init(silent endpoint: Endpoint) throws {
    guard case .tcp(_, let port) = endpoint else { throw Broken() }
    number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(number, $0, size) == 0 }
    }
    var patience = timeval(tv_sec: 30, tv_usec: 0)
    setsockopt(
      number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    guard isConnected else { throw Broken() }
  }

  deinit { close(number) }

  /// Says HELLO under id 1 and returns what comes back.
  func hello(_ namespace: String = "default", token: String = "") throws -> Frame {
    try ask(.hello(HelloRequest(namespace: NamespaceName(namespace), token: token)), id: 1)
    return try receive()
  }

  /// Whether the server has ended the stream in good order, with nothing more to read.
  func isAtEnd() -> Bool {
    var byte: UInt8 = 0
    return recv(number, &byte, 1, 0) == 0
  }

  /// Sends a request, with payload for PUT_DATA.
  func ask(
    _ request: Request, id: UInt64, deadlineMilliseconds: UInt32 = 0, payload: [UInt8] = []
  ) throws {
    var writer = ByteWriter()
    encoder.request(
      request, id: id, deadlineMilliseconds: deadlineMilliseconds, payloadLength: payload.count,
      to: &writer)
    var rest = (writer.bytes + payload)[...]
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
    guard recv(number, &bytes, count, Int32(MSG_WAITALL)) == count else { throw Broken() }
    return bytes
  }
}
