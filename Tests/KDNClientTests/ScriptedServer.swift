import Foundation
import Glibc
import KDNCore
import KDNWire

@testable import KDNClient

/// The other end of a client's socket: says what a test wrote down, whatever it is asked.
///
/// Request ids are the client's to choose and it counts from 1, HELLO being 1; so answers can be in
/// the socket before the client asks.
final class ScriptedServer: Sendable {
  /// The client's end, for `Connection(owning:)`.
  let clientEnd: Int32
  private let serverEnd: Int32
  /// The kernel's number of the server's end.
  var serverNumber: Int32 { serverEnd }

  init() {
    var ends: [Int32] = [0, 0]
    let result = socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends)
    precondition(result == 0, "no socket pair")
    clientEnd = ends[0]
    serverEnd = ends[1]
  }

  /// Takes over the server's end of a connection that a client has made itself.
  init(accepted number: Int32) {
    serverEnd = number
    clientEnd = -1
  }

  deinit { close(serverEnd) }

  /// Writes all of `bytes`; waits if the client does not read.
  func say(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes {
        send(serverEnd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { return }
      rest = rest.dropFirst(sent)
    }
  }

  /// Says each of `pieces` from another thread; the client finds them in several reads.
  func sayFromThread(_ pieces: [[UInt8]], thenHangUp: Bool = false) {
    Thread.detachNewThread { [self] in
      for piece in pieces { say(piece) }
      if thenHangUp { hangUp() }
    }
  }

  /// Says nothing more; the client sees the end of the stream.
  func hangUp() { _ = shutdown(serverEnd, Int32(SHUT_WR)) }

  /// Says and takes nothing more; the client's next send fails.
  func breakOff() { _ = shutdown(serverEnd, Int32(SHUT_RDWR)) }

  /// Takes `count` bytes that the client sent, fewer if it has closed.
  func hear(_ count: Int) -> [UInt8] {
    var heard: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while heard.count < count {
      let taken = recv(serverEnd, &piece, min(piece.count, count - heard.count), 0)
      guard taken > 0 else { break }
      heard += piece[..<taken]
    }
    return heard
  }

  /// Takes the next frame that the client sent, with its payload.
  func hearFrame() throws -> (header: FrameHeader, body: [UInt8], payload: [UInt8]) {
    var reader = ByteReader(hear(FrameHeader.byteCount))
    let header = try FrameHeader(from: &reader)
    return (header, hear(header.bodyLength), hear(header.payloadLength))
  }
}

/// Frames as a server sends them.
enum Frames {
  static func answer(
    _ response: Response, id: UInt64, more: Bool = false, payload: [UInt8] = []
  ) -> [UInt8] {
    var encoder = FrameEncoder()
    var writer = ByteWriter()
    encoder.response(response, id: id, more: more, payloadLength: payload.count, to: &writer)
    return writer.bytes + payload
  }

  static func continuation(id: UInt64, more: Bool, payload: [UInt8]) -> [UInt8] {
    var encoder = FrameEncoder()
    var writer = ByteWriter()
    encoder.continuation(id: id, more: more, payloadLength: payload.count, to: &writer)
    return writer.bytes + payload
  }

  static func error(_ operation: KDNWire.Operation, id: UInt64, _ status: Status) -> [UInt8] {
    var encoder = FrameEncoder()
    var writer = ByteWriter()
    let body = ErrorBody(field: "field", value: 7, limit: 3, message: "said by the script")
    encoder.error(operation.rawValue, id: id, status, body, to: &writer)
    return writer.bytes
  }

  static func goAway(_ status: Status) -> [UInt8] {
    var encoder = FrameEncoder()
    var writer = ByteWriter()
    encoder.goAway(status, ErrorBody(message: "going"), to: &writer)
    return writer.bytes
  }

  static func hello(_ limits: Limits = Limits()) -> [UInt8] {
    let body = HelloResponse(
      limits: limits, links: .unix, namespaceGeneration: 3,
      serverID: [UInt8](repeating: 9, count: 16), server: "scripted")
    return answer(.hello(body), id: 1)
  }

  /// A hit on a whole object that is `bytes`.
  static func hit(_ bytes: [UInt8]) -> GetDescriptor {
    let checksum = Checksum(of: bytes)
    return GetDescriptor(
      objectBytes: bytes.count, sentBytes: bytes.count, objectChecksum: checksum,
      sentChecksum: checksum)
  }

  static func get(
    _ descriptors: [GetDescriptor], id: UInt64 = 2, more: Bool = false, payload: [UInt8]
  ) -> [UInt8] {
    answer(.get(GetResponse(descriptors: descriptors)), id: id, more: more, payload: payload)
  }
}

extension ScriptedServer {
  /// A connection that has been greeted; the client's HELLO has been taken.
  func greeted(
    limits: Limits = Limits(), graceMilliseconds: UInt64 = 5_000
  ) throws -> Connection {
    say(Frames.hello(limits))
    let hello = HelloRequest(namespace: try NamespaceName("test"), token: "secret", agent: "tests")
    let connection = try Connection(
      owning: clientEnd, hello, graceMilliseconds: graceMilliseconds)
    _ = try hearFrame()
    return connection
  }
}

/// Bytes that differ from place to place.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
  return (0..<count).map { _ in
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return UInt8(truncatingIfNeeded: state)
  }
}

extension GetResult {
  /// A hit on a whole object.
  static func hit(bytes: Int, objectChecksum: Checksum) -> GetResult {
    .hit(bytes: bytes, objectBytes: bytes, objectChecksum: objectChecksum)
  }
}

func opaqueKey(_ number: UInt8) throws -> ObjectKey {
  ObjectKey(opaque: try ChunkHash([UInt8](repeating: number, count: 32)))
}

/// Calls `body` and returns what it threw.
func failure<Result>(_ body: () throws -> Result) -> ClientError? {
  do {
    _ = try body()
    return nil
  } catch {
    return error as? ClientError
  }
}
