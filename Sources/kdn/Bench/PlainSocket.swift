internal import CPlatform
internal import Glibc

/// A blocking TCP socket with loops of `sendmsg` and `recvmsg` and nothing else: what the
/// ceiling and the Redis target use, so that they owe nothing to the client that is measured.
// Safe because: one worker at a time uses a socket, and pointers do not outlive the calls.
@safe final class PlainSocket: @unchecked Sendable {
  private let descriptor: Int32
  private let target: String
  private let vectors: UnsafeMutablePointer<iovec>

  private static let vectorCount = 3
  private static let answerSecondsMax = 30

  /// Takes over an open socket; `target` names the other side in errors.
  init(owning descriptor: Int32, target: String) {
    self.descriptor = descriptor
    self.target = target
    unsafe vectors = .allocate(capacity: Self.vectorCount)
    var one: Int32 = 1
    let length = socklen_t(MemoryLayout<Int32>.size)
    _ = unsafe setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, length)
  }

  deinit {
    unsafe vectors.deallocate()
    _ = close(descriptor)
  }

  /// From now on an answer that does not come in time is an error.
  func limitWaiting() {
    var limit = timeval(tv_sec: Self.answerSecondsMax, tv_usec: 0)
    let length = socklen_t(MemoryLayout<timeval>.size)
    _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, length)
    _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, length)
  }

  /// Connects to `host` and `port`.
  ///
  /// - Throws: `system` if the name is unknown or nobody listens.
  convenience init(host: String, port: UInt16, target: String) throws(BenchError) {
    var hints = unsafe addrinfo()
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    guard unsafe getaddrinfo(host, String(port), &hints, &list) == 0, let first = unsafe list
    else { throw .system(call: "getaddrinfo \(host)", code: EADDRNOTAVAIL) }
    defer { unsafe freeaddrinfo(list) }
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = unsafe socket(first.pointee.ai_family, kind, 0)
    guard descriptor >= 0 else { throw .last("socket") }
    guard unsafe connect(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0 else {
      let error = BenchError.last("connect \(host):\(port)")
      _ = close(descriptor)
      throw error
    }
    self.init(owning: descriptor, target: target)
  }

  /// Sends `head`, the buffer and `tail`, all of them.
  ///
  /// - Throws: `system` if the connection broke.
  func send(_ head: [UInt8], _ buffer: Buffer? = nil, tail: [UInt8] = []) throws(BenchError) {
    let body = unsafe buffer.map { unsafe UnsafeRawBufferPointer($0.bytes) }
    let sent = unsafe head.withUnsafeBytes { head in
      unsafe tail.withUnsafeBytes { tail in
        unsafe set(head, body ?? UnsafeRawBufferPointer(start: nil, count: 0), tail)
        return unsafe move(head.count + (body?.count ?? 0) + tail.count) { pieces, count in
          unsafe kdn_send(descriptor, pieces, count)
        }
      }
    }
    if let failure = sent { throw failure }
  }

  /// Receives exactly `head`, the buffer and `tail`, in this order, into their places.
  ///
  /// - Throws: `system` or `peerClosed` if the connection broke.
  func receive(
    _ head: inout [UInt8], _ buffer: Buffer? = nil, tail: inout [UInt8]
  ) throws(BenchError) {
    let body = unsafe buffer.map { unsafe UnsafeRawBufferPointer($0.bytes) }
    let received = unsafe head.withUnsafeMutableBytes { head in
      unsafe tail.withUnsafeMutableBytes { tail in
        unsafe set(
          UnsafeRawBufferPointer(head), body ?? UnsafeRawBufferPointer(start: nil, count: 0),
          UnsafeRawBufferPointer(tail))
        return unsafe move(head.count + (body?.count ?? 0) + tail.count) { pieces, count in
          unsafe kdn_receive(descriptor, pieces, count)
        }
      }
    }
    if let failure = received { throw failure }
  }

  /// Receives exactly the bytes of `buffer`.
  ///
  /// - Throws: `system` or `peerClosed` if the connection broke.
  func receive(into buffer: Buffer) throws(BenchError) {
    var head: [UInt8] = []
    var tail: [UInt8] = []
    try receive(&head, buffer, tail: &tail)
  }

  /// Receives what is there, at most `bytes.count` bytes; 0 if the other side has closed.
  ///
  /// - Throws: `system` if the connection broke.
  func receiveSome(into bytes: inout [UInt8]) throws(BenchError) -> Int {
    while true {
      let count = unsafe recv(descriptor, &bytes, bytes.count, 0)
      if count >= 0 { return count }
      guard errno == EINTR else { throw .last("recv") }
    }
  }

  private func set(
    _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer,
    _ tail: UnsafeRawBufferPointer
  ) {
    unsafe set(0, head)
    unsafe set(1, body)
    unsafe set(2, tail)
  }

  private func set(_ index: Int, _ piece: UnsafeRawBufferPointer) {
    unsafe vectors[index] = iovec(
      iov_base: UnsafeMutableRawPointer(mutating: piece.baseAddress), iov_len: piece.count)
  }

  /// Moves `total` bytes through the vectors; returns what went wrong.
  private func move(
    _ total: Int, _ call: (UnsafeMutablePointer<iovec>, Int) -> Int
  ) -> BenchError? {
    var left = total
    var first = 0
    while left > 0 {
      while unsafe vectors[first].iov_len == 0 { first += 1 }
      let count = unsafe call(vectors + first, Self.vectorCount - first)
      if count == 0 { return .peerClosed(target: target) }
      if count < 0 {
        if errno == EINTR { continue }
        return .last("\(target) transfer")
      }
      left -= count
      advance(count, from: first)
    }
    return nil
  }

  private func advance(_ count: Int, from first: Int) {
    var rest = count
    var index = first
    while rest > 0 {
      let step = unsafe min(rest, vectors[index].iov_len)
      unsafe vectors[index].iov_base = vectors[index].iov_base.map { unsafe $0 + step }
      unsafe vectors[index].iov_len -= step
      rest -= step
      index += 1
    }
  }
}
