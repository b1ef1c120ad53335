import CKDN
import Testing

@testable import KDNLibrary

/// A change here breaks programs that were compiled before: it needs a new KDN_ABI_VERSION.
@Suite("The binary interface of libkdn")
struct BinaryInterfaceTests {
  @Test("has version 1, and tells KDN's")
  func versions() throws {
    #expect(kdn_abi_version() == 1)
    #expect(KDN_ABI_VERSION == 1)
    let text = try #require(kdn_version())
    #expect(String(cString: text).split(separator: ".").count == 3)
  }

  @Test("keeps the layout of its structures")
  func layouts() {
    #expect(MemoryLayout<kdn_options>.size == 88)
    #expect(MemoryLayout<kdn_options>.offset(of: \.address) == 8)
    #expect(MemoryLayout<kdn_options>.offset(of: \.link) == 40)
    #expect(MemoryLayout<kdn_options>.offset(of: \.tls_server_name) == 72)
    #expect(MemoryLayout<kdn_options>.offset(of: \.connect_timeout_ms) == 80)
    #expect(MemoryLayout<kdn_options>.offset(of: \.flags) == 84)
    #expect(MemoryLayout<kdn_match_query>.size == 72)
    #expect(MemoryLayout<kdn_match_query>.offset(of: \.layout) == 40)
    #expect(MemoryLayout<kdn_match_query>.offset(of: \.variant) == 56)
    #expect(MemoryLayout<kdn_match_result>.size == 56)
    #expect(MemoryLayout<kdn_match_result>.offset(of: \.matched_bytes) == 24)
    #expect(MemoryLayout<kdn_match_result>.offset(of: \.lease_id) == 40)
    #expect(MemoryLayout<kdn_buffer>.size == 24)
    #expect(MemoryLayout<kdn_get_result>.size == 32)
    #expect(MemoryLayout<kdn_get_result>.offset(of: \.object_bytes) == 24)
    #expect(MemoryLayout<kdn_put>.size == 40)
    #expect(MemoryLayout<kdn_put>.offset(of: \.checksum) == 24)
    #expect(MemoryLayout<kdn_put_result>.size == 24)
    #expect(MemoryLayout<kdn_put_result>.offset(of: \.checksum) == 16)
  }

  @Test("keeps the numbers of its results")
  func numbers() {
    let codes = [
      KDN_OK, KDN_INVALID, KDN_CANNOT_CONNECT, KDN_REFUSED, KDN_WENT_AWAY, KDN_LOST,
      KDN_DEADLINE, KDN_PROTOCOL, KDN_UNSENDABLE, KDN_NO_ROOM, KDN_FORKED, KDN_UNSUPPORTED,
    ]
    #expect(codes.map(\.rawValue) == (0...11).map { Int32(-$0) })
    #expect([KDN_HIT, KDN_MISS, KDN_GET_NO_ROOM].map(\.rawValue) == [0, 1, 2])
    #expect([KDN_PUBLISHED, KDN_PRESENT, KDN_PUT_REFUSED].map(\.rawValue) == [0, 1, 2])
  }
}
