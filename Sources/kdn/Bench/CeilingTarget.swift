internal import KDNCore

/// A bare blocking sender and receiver in a process of its own: what loopback TCP can give.
final class CeilingTarget: BenchTarget {
  let name = "ceiling"
  private var peer: Peer?

  /// Creates the target; nothing runs before `open`.
  init() {}

  func open(_ workload: Workload, buffers: [Buffer]) throws -> [any BenchLink] {
    let listener = try LoopbackListener(backlog: workload.connections)
    let child = try ChildProcess(arguments: [
      CeilingPeer.configuration.commandName ?? "", "--port", "\(listener.port)",
      "--connections", "\(workload.connections)", "--buffer-bytes", "\(workload.objectBytes)",
      "--buffers", "\(workload.objectCount)",
    ])
    let peer = Peer(child)
    self.peer = peer
    return try (0..<workload.connections).map { _ in
      let socket = try listener.accept(target: name)
      socket.limitWaiting()
      return CeilingLink(socket, batch: workload.batch)
    }
  }

  func cpuSeconds() -> Double? { peer.flatMap { ProcessTime.of(pid: $0.pid) } }

  func close() { peer = nil }

  /// Keeps the child until the target closes.
  ///
  /// It is not waited for before that: its connections close with the links, which the runner has
  /// let go by then.
  private final class Peer {
    let pid: Int32
    private var child: ChildProcess?

    init(_ child: consuming ChildProcess) {
      pid = child.pid
      self.child = consume child
    }

    deinit { child.take()?.wait() }
  }
}

/// One connection to the bare sender and receiver.
private struct CeilingLink: BenchLink {
  private let socket: PlainSocket
  private let batch: Int
  private let existsQuestion: [UInt8]
  private let matchQuestion: [UInt8]

  init(_ socket: PlainSocket, batch: Int) {
    self.socket = socket
    self.batch = batch
    existsQuestion = Self.question(bytes: batch * ObjectKey.byteCount)
    matchQuestion = Self.question(bytes: batch * ChunkHash.byteCount)
  }

  func store(_ object: Int, from buffer: Buffer) throws {
    try socket.send(CeilingRequest(.put, slot: object).encoded, buffer)
    try awaitAcknowledgement()
  }

  func put(_ object: Int, from buffer: Buffer) throws { try store(object, from: buffer) }

  func get(_ objects: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int {
    let request = CeilingRequest(.get, slot: objects.lowerBound, count: objects.count)
    try socket.send(request.encoded)
    for buffer in buffers { try socket.receive(into: buffer) }
    return objects.count
  }

  func exists(_ objects: Range<Int>) throws -> Int {
    try socket.send(existsQuestion)
    try awaitAcknowledgement()
    return objects.count
  }

  func match() throws -> Int {
    try socket.send(matchQuestion)
    try awaitAcknowledgement()
    return batch
  }

  private func awaitAcknowledgement() throws(BenchError) {
    var answer = [UInt8](repeating: 0, count: CeilingRequest.byteCount)
    var none: [UInt8] = []
    try socket.receive(&answer, tail: &none)
  }

  private static func question(bytes: Int) -> [UInt8] {
    CeilingRequest(.ask, bytes: bytes).encoded + [UInt8](repeating: 0, count: bytes)
  }
}
