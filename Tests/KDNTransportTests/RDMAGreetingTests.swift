import KDNCore
import Testing

@testable import KDNTransport

@Suite("An RDMA greeting")
struct RDMAGreetingTests {
  private let greeting = RDMAGreeting(receives: 32, messageBytes: 4096)

  @Test("has the bytes that the protocol gives it")
  func hasItsBytes() {
    #expect(greeting.encoded == Array("KDNR".utf8) + [1, 0, 32, 0, 0, 16, 0, 0, 0, 0, 0, 0])
    #expect(greeting.encoded.count == RDMAGreeting.byteCount)
  }

  @Test(
    "comes back as it went, with and without the padding of InfiniBand", arguments: [0, 40, 180])
  func comesBack(padding: Int) throws {
    let bytes = greeting.encoded + [UInt8](repeating: 0, count: padding)
    #expect(try RDMAGreeting(decoding: bytes) == greeting)
  }

  @Test("is refused when cut anywhere", arguments: 0..<RDMAGreeting.byteCount)
  func isRefusedWhenCut(count: Int) {
    #expect(throws: FieldFault.self) {
      try RDMAGreeting(decoding: Array(greeting.encoded.prefix(count)))
    }
  }

  @Test(
    "is refused with a strange magic, version, reserved byte or padding",
    arguments: [0, 3, 4, 5, 12, 15, 16, 55])
  func isRefusedWhenStrange(index: Int) {
    var bytes = greeting.encoded + [UInt8](repeating: 0, count: 40)
    bytes[index] ^= 0x80
    #expect(throws: FieldFault.self) { try RDMAGreeting(decoding: bytes) }
  }

  @Test(
    "is refused with numbers outside their ranges",
    arguments: [
      (0, 4096), (2, 4096), (1025, 4096), (65535, 4096), (32, 0), (32, 255), (32, 65537),
    ])
  func isRefusedOutsideItsRanges(receives: Int, messageBytes: Int) throws {
    var writer = ByteWriter()
    writer.put(contentsOf: greeting.encoded.prefix(6))
    writer.put(UInt16(receives))
    writer.put(UInt32(messageBytes))
    writer.put(UInt32(0))
    #expect(throws: FieldFault.self) { try RDMAGreeting(decoding: writer.bytes) }
    #expect(throws: RDMAFault.self) { try RDMAGreeting(heard: writer.bytes) }
  }

  @Test("may have the least and the most of each number", arguments: [(3, 256), (1024, 65536)])
  func mayHaveTheLeastAndTheMost(receives: Int, messageBytes: Int) throws {
    let greeting = RDMAGreeting(receives: receives, messageBytes: messageBytes)
    #expect(try RDMAGreeting(decoding: greeting.encoded) == greeting)
  }
}

@Suite("An RDMA message's prefix")
struct RDMAMessagePrefixTests {
  private func decode(_ bytes: [UInt8], messageBytes: Int) throws -> RDMAMessagePrefix {
    try RDMAMessagePrefix(decoding: bytes.span.bytes, messageBytes: messageBytes)
  }

  @Test("has the bytes that the protocol gives it, and comes back")
  func comesBack() throws {
    let prefix = RDMAMessagePrefix(creditsReturned: 0x0102, streamBytes: 0x0304)
    let bytes = withUnsafeBytes(of: prefix.encoded) { Array($0) }
    #expect(bytes == [2, 1, 0, 0, 4, 3, 0, 0])
    #expect(try decode(bytes, messageBytes: 8 + 0x0304) == prefix)
  }

  @Test("is refused in a message shorter than itself", arguments: 0..<8)
  func isRefusedWhenCut(count: Int) {
    #expect(throws: FieldFault.self) {
      try decode([UInt8](repeating: 1, count: count), messageBytes: count)
    }
  }

  @Test("is refused if it lies about the length", arguments: [(0, 8 + 1), (4, 8), (4, 8 + 5)])
  func isRefusedWhenLying(streamBytes: Int, messageBytes: Int) {
    let prefix = RDMAMessagePrefix(creditsReturned: 1, streamBytes: streamBytes)
    let bytes = withUnsafeBytes(of: prefix.encoded) { Array($0) }
    #expect(throws: FieldFault.self) { try decode(bytes, messageBytes: messageBytes) }
  }

  @Test("is refused if the message neither carries nor returns anything")
  func isRefusedWhenEmpty() {
    #expect(throws: FieldFault.self) {
      try decode([UInt8](repeating: 0, count: 8), messageBytes: 8)
    }
  }
}
