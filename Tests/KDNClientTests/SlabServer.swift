import CPlatform
import Foundation
import Glibc
import KDNCore
import KDNMemory
import KDNWire

@testable import KDNClient

/// Memory as a server passes it: its size is fixed, its first bytes are `bytes`.
struct PassedMemory {
  let descriptor: Int32

  /// A memfd that nobody can shorten.
  init(_ bytes: [UInt8], byteCount: Int) throws {
    let window = try SharedWindow(byteCount: byteCount)
    descriptor = window.openForWriting() ?? -1
    precondition(pwrite(descriptor, bytes, bytes.count, 0) == bytes.count)
  }

  /// A file that anybody can shorten.
  static func unsealed(byteCount: Int) -> Int32 {
    let descriptor = kdn_memfd(0)
    precondition(ftruncate(descriptor, byteCount) == 0)
    return descriptor
  }

  /// What lies at `range` now.
  func read(_ range: Range<Int>) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: range.count)
    precondition(pread(descriptor, &bytes, range.count, range.lowerBound) == range.count)
    return bytes
  }
}

extension ScriptedServer {
  /// Sends `bytes`; the first carries a descriptor, which stays the caller's.
  func say(_ bytes: [UInt8], passing descriptor: Int32) {
    var bytes = bytes
    let count = bytes.count
    let sent = bytes.withUnsafeMutableBytes { buffer in
      var piece = iovec(iov_base: buffer.baseAddress, iov_len: count)
      return kdn_send_passing(serverNumber, &piece, 1, descriptor)
    }
    precondition(sent == count, "a short frame is sent at once")
  }

  /// Answers frames by `answer` on a thread of its own, until it gives nil or the client is gone.
  ///
  /// What the client asked for is what `answer` sees, so that no byte is said before its time: the
  /// kernel would drop a descriptor that comes unasked.
  func serve(_ answer: @escaping @Sendable (HeardFrame) throws -> Said?) {
    Thread.detachNewThread { [self] in
      while let frame = try? hearWhole(), let said = try? answer(frame) {
        for piece in said.pieces {
          switch piece {
          case .bytes(let bytes): say(bytes)
          case .passing(let bytes, let descriptor): say(bytes, passing: descriptor)
          }
        }
      }
      hangUp()
    }
  }

  private func hearWhole() throws -> HeardFrame {
    let front = hear(FrameHeader.byteCount)
    guard front.count == FrameHeader.byteCount else { throw EndOfStream() }
    var reader = ByteReader(front)
    let header = try FrameHeader(from: &reader)
    let body = hear(header.bodyLength)
    let payload = hear(header.payloadLength)
    guard let operation = header.operation, let place = PayloadPlace(rawValue: header.place) else {
      throw EndOfStream()
    }
    let request = try Request.decode(
      operation, body: ByteReader(body), limits: Limits(), place: place)
    return HeardFrame(id: header.requestID, request: request, payload: payload)
  }

  private struct EndOfStream: Error {}

  /// A connection that has been greeted and shares memory.
  func greetedInMemory(limits: Limits = Limits()) throws -> Connection {
    say(Frames.hello(limits))
    let hello = HelloRequest(namespace: try NamespaceName("test"), token: "secret", agent: "tests")
    let connection = try Connection(
      owning: clientEnd, hello, graceMilliseconds: 5_000,
      link: ClientLink(.shm, address: "here", reason: "scripted"))
    _ = try hearFrame()
    return connection
  }
}

/// A frame that the client sent.
struct HeardFrame: Sendable {
  let id: UInt64
  let request: Request
  let payload: [UInt8]
}

/// What a scripted server says to one frame.
struct Said: Sendable {
  enum Piece: Sendable {
    case bytes([UInt8])
    case passing([UInt8], Int32)
  }

  let pieces: [Piece]

  static let nothing = Said(pieces: [])
  static func answer(_ response: Response, _ id: UInt64) -> Said {
    Said(pieces: [.bytes(Frames.answer(response, id: id))])
  }
  static func answer(_ response: Response, _ id: UInt64, passing descriptor: Int32) -> Said {
    Said(pieces: [.passing(Frames.answer(response, id: id), descriptor)])
  }
  static func refusal(_ operation: KDNWire.Operation, _ id: UInt64, _ status: Status) -> Said {
    Said(pieces: [.bytes(Frames.error(operation, id: id, status))])
  }
}
