import Foundation
import KDNCore
import KDNTransport
import KDNWire
import Testing

/// Memory of a client that a server may reach.
final class Room {
  let bytes: UnsafeMutableRawBufferPointer
  private var region: RDMARegion?

  /// Registers `count` bytes of `fill` with the client's device.
  init(
    _ count: Int, _ client: FabricClient, access: RDMAAccess = [.remoteRead, .remoteWrite],
    fill: UInt8 = 0xEE
  ) throws {
    bytes = .allocate(byteCount: max(1, count), alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: fill)
    region = try RDMARegion(bytes, access: access, in: client.endpoint.context)
  }

  /// Registers a copy of `content`.
  convenience init(_ content: [UInt8], _ client: FabricClient) throws {
    try self.init(content.count, client)
    bytes.copyBytes(from: content)
  }

  deinit {
    region = nil
    bytes.deallocate()
  }

  /// What the client tells the server of it, or of a part.
  func remote(_ range: Range<Int>? = nil) throws -> RemoteRegion {
    let region = try #require(region)
    let range = range ?? 0..<bytes.count
    return RemoteRegion(
      address: region.address + UInt64(range.lowerBound), key: region.remoteKey,
      byteCount: range.count)
  }

  /// What is in it now.
  var content: [UInt8] { Array(bytes) }

  /// Deregisters: the server's access fails from now on.
  func revoke() { region = nil }

  /// Whether it holds `content` from `offset` on.
  func holds(_ content: [UInt8], at offset: Int = 0) -> Bool {
    content.withUnsafeBytes { content in
      guard let start = content.baseAddress, let own = bytes.baseAddress else { return false }
      return memcmp(start, own + offset, content.count) == 0
    }
  }

  /// Whether all of `range` is as it was at first.
  func isUntouched(_ range: Range<Int>? = nil, fill: UInt8 = 0xEE) -> Bool {
    bytes[range ?? 0..<bytes.count].allSatisfy { $0 == fill }
  }
}
