import Glibc
import KDNCore
import Testing

@testable import KDNTransport

@Suite("The origin of a connection")
struct PeerAddressTests {
  @Test("is the IPv4 address over TCP")
  func knowsIPv4() throws {
    let pair = try SocketPair(overTCP: ())
    let link = Link(owning: dup(pair.first))
    #expect(link.peerAddress == .ipv4(127 << 24 | 1))
    #expect(link.peerAddress.description == "127.0.0.1")
  }

  @Test("is the user over a Unix socket")
  func knowsUsers() throws {
    let pair = try SocketPair()
    #expect(PeerAddress(ofSocket: pair.first) == .user(getuid()))
    #expect(PeerAddress(ofSocket: pair.first).description == "uid \(getuid())")
  }

  @Test("is unknown without a connection")
  func knowsNothing() {
    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(number) }
    #expect(PeerAddress(ofSocket: number) == .unknown)
    #expect(PeerAddress(ofSocket: -1) == .unknown)
  }

  @Test("of IPv6 is the network, and IPv4 in IPv6 is IPv4")
  func knowsIPv6() {
    let one = PeerAddress(upper: 0x2001_0db8_0000_0001, lower: 1)
    #expect(one == PeerAddress(upper: 0x2001_0db8_0000_0001, lower: 0xFFFF_0000_0000))
    #expect(one != PeerAddress(upper: 0x2001_0db8_0000_0002, lower: 1))
    #expect(one.description == "2001:db8:0:1::/64")
    #expect(PeerAddress(upper: 0, lower: 0xFFFF_C000_0207) == .ipv4(0xC000_0207))
    #expect(PeerAddress(upper: 0, lower: 0xFFFF_C000_0207).description == "192.0.2.7")
    #expect(PeerAddress(upper: 0, lower: 1) == .ipv6Prefix(0))
  }
}
