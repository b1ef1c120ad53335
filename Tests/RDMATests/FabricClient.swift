import KDNCore
import KDNTransport
import KDNWire

/// A client over RDMA that sends what a test says, frame by frame, under ids that the test chooses.
final class FabricClient {
  /// A frame from the server with its inline payload.
  struct Frame {
    let header: FrameHeader
    let body: [UInt8]
    let payload: [UInt8]

    var status: Status? { Status(rawValue: header.status) }

    /// What an error or a GOAWAY says.
    func error() throws -> ErrorBody {
      var reader = ByteReader(body)
      return try ErrorBody(from: &reader)
    }
  }

  /// The server, or this side's device, has ended the connection.
  struct Lost: Error {
    let fault: RDMAFault?
  }

  /// Longest wait for anything; emulated machines are slow.
  static let patienceMilliseconds: UInt64 = 120_000

  /// What opens the namespace `default` of the tests' servers.
  static let token = "a secret of the tests"

  let endpoint: RDMAEndpoint
  private var encoder = FrameEncoder()
  /// Holds back what is asked until `release`.
  var isHolding = false
  private var held: [UInt8] = []
  private var buffered: [UInt8] = []
  private var aside: [Frame] = []
  private var lastID: UInt64 = 1000

  /// Connects and says nothing yet.
  init(silent endpoint: Endpoint, sharing context: RDMAContext? = nil) throws {
    let deadline = SystemClock().now().advanced(milliseconds: Self.patienceMilliseconds)
    self.endpoint = try RDMADialler.connect(to: endpoint, deadline: deadline, sharing: context)
  }

  /// Connects and enters the namespace of the tests under id 1.
  convenience init(_ endpoint: Endpoint, sharing context: RDMAContext? = nil) throws {
    try self.init(silent: endpoint, sharing: context)
    guard try hello().status == .ok else { throw Lost(fault: nil) }
  }

  /// An id that was not used yet.
  func newID() -> UInt64 {
    lastID += 1
    return lastID
  }

  /// Says HELLO under id 1 and returns what comes back.
  func hello(token: String = FabricClient.token) throws -> Frame {
    try ask(.hello(HelloRequest(namespace: NamespaceName("default"), token: token)), id: 1)
    return try receive()
  }

  /// Queues a request and gives the device what it takes.
  func ask(
    _ request: Request, id: UInt64, deadlineMilliseconds: UInt32 = 0, payload: [UInt8] = []
  ) throws {
    var writer = ByteWriter()
    encoder.request(
      request, id: id, deadlineMilliseconds: deadlineMilliseconds, payloadLength: payload.count,
      to: &writer)
    held += writer.bytes + payload
    if !isHolding { release() }
  }

  /// Sends what was held back, as one piece.
  func release() {
    isHolding = false
    endpoint.send(held)
    held.removeAll()
    _ = endpoint.poll()
  }

  /// Asks and waits for the answer, which must be the only one that is due under this id.
  func exchange(_ request: Request, deadlineMilliseconds: UInt32 = 0) throws -> Frame {
    let id = newID()
    try ask(request, id: id, deadlineMilliseconds: deadlineMilliseconds)
    return try answer(to: id)
  }

  /// The next answer to a request; others are kept for whoever asks for them.
  func answer(to id: UInt64) throws -> Frame {
    if let index = aside.firstIndex(where: { $0.header.requestID == id }) {
      return aside.remove(at: index)
    }
    while true {
      let frame = try receive()
      guard frame.header.requestID != id else { return frame }
      aside.append(frame)
    }
  }

  /// The next frame from the server.
  func receive() throws -> Frame {
    var reader = ByteReader(try take(FrameHeader.byteCount))
    let header = try FrameHeader(from: &reader)
    let body = try take(header.bodyLength)
    return Frame(header: header, body: body, payload: try take(header.payloadLength))
  }

  /// Whether the connection ends without another frame.
  func isLost() -> Bool {
    do {
      _ = try receive()
      return false
    } catch {
      return error is Lost
    }
  }

  /// Whether the connection ends, whatever comes before that.
  func isLostSoon() -> Bool {
    do {
      while true { _ = try receive() }
    } catch {
      return error is Lost
    }
  }

  private func take(_ count: Int) throws -> [UInt8] {
    let deadline = SystemClock().now().advanced(milliseconds: Self.patienceMilliseconds)
    while buffered.count < count { try fill(until: deadline) }
    defer { buffered.removeFirst(count) }
    return Array(buffered.prefix(count))
  }

  private func fill(until deadline: Instant) throws {
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    let reception = chunk.withUnsafeMutableBytes {
      endpoint.receive(into: $0, then: UnsafeMutableRawBufferPointer(start: nil, count: 0))
    }
    switch reception {
    case .bytes(let count): buffered += chunk[..<count]
    case .ended: throw Lost(fault: endpoint.fault)
    case .wouldBlock:
      do {
        try endpoint.wait(until: deadline)
      } catch .deadline {
        throw RDMAFault.deadline
      } catch {
        throw Lost(fault: error)
      }
    }
  }
}

// MARK: Stores and fetches with remote places

extension FabricClient {
  /// BEGIN, PUT_DATA for all of `regions` in order, COMMIT; the answer to COMMIT.
  func store(
    _ key: ObjectKey, _ regions: [RemoteRegion], checksum: Checksum, byteCount: Int? = nil
  ) throws -> Frame {
    let id = newID()
    let total = byteCount ?? regions.reduce(0) { $0 + $1.byteCount }
    try ask(.putBegin(PutBeginRequest(key: key, totalBytes: total)), id: id)
    try send(regions, transfer: id)
    let commitID = newID()
    try ask(.putCommit(PutCommitRequest(transferID: id, checksum: checksum)), id: commitID)
    return try answer(to: commitID)
  }

  /// PUT_DATA for all of `regions` in order.
  func send(_ regions: [RemoteRegion], transfer id: UInt64, offset: UInt64 = 0) throws {
    var offset = offset
    for region in regions {
      let data = PutDataRequest(transferID: id, offset: offset, source: .remote(region))
      try ask(.putData(data), id: id)
      offset &+= UInt64(region.byteCount)
    }
  }

  /// GET into `regions`; what the server says of each item.
  func fetch(
    _ items: [GetRequest.Item], into regions: [RemoteRegion], flags: GetRequest.Flags = []
  ) throws -> [GetDescriptor] {
    let request = GetRequest(items: items, flags: flags, place: .remote(regions))
    let frame = try exchange(.get(request))
    guard frame.status == .ok else { throw Refused(frame: frame) }
    var reader = ByteReader(frame.body)
    return try GetResponse(from: &reader, count: items.count, place: .remote).descriptors
  }

  /// The server refused.
  struct Refused: Error {
    let frame: Frame
  }
}
