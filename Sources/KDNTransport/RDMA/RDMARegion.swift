internal import CIBVerbs
internal import Glibc

/// What the other side may do to a registered region; nothing, if empty.
package struct RDMAAccess: OptionSet, Hashable, Sendable {
  /// Bit set of rights.
  package let rawValue: UInt8
  /// Creates a set of rights.
  package init(rawValue: UInt8) { self.rawValue = rawValue }

  /// It may read, as a server does for a PUT.
  package static let remoteRead = RDMAAccess(rawValue: 1)
  /// It may write, as a server does for a GET.
  package static let remoteWrite = RDMAAccess(rawValue: 2)

  /// The library's flags; this side may always write.
  var flags: Int32 {
    var flags = IBV_ACCESS_LOCAL_WRITE.rawValue
    if contains(.remoteRead) { flags |= IBV_ACCESS_REMOTE_READ.rawValue }
    if contains(.remoteWrite) { flags |= IBV_ACCESS_REMOTE_WRITE.rawValue }
    return Int32(bitPattern: flags)
  }
}

/// Memory that a device may reach, pinned; deregistered with the last reference.
///
/// It does not own the memory: whoever does must keep it until this is gone. Once it is gone, the
/// other side's access fails, and with it the connection that tries.
// Safe because: the pointer never changes and is only given back.
@safe package final class RDMARegion: @unchecked Sendable {
  /// Address of the first byte, as the other side names it.
  package let address: UInt64
  /// Length in bytes.
  package let byteCount: Int
  /// Key for this side's work requests.
  package let localKey: UInt32
  /// Key for the other side; of use to it only with the access that was granted.
  package let remoteKey: UInt32
  private let handle: UnsafeMutablePointer<ibv_mr>
  /// The domain outlives its regions.
  private let context: RDMAContext

  /// Registers `bytes`, which must not be empty.
  ///
  /// - Throws: `ibv_reg_mr` with errno; `ENOMEM` mostly means the limit of locked memory.
  @unsafe package init(
    _ bytes: UnsafeMutableRawBufferPointer, access: RDMAAccess, in context: RDMAContext
  ) throws(RDMAFault) {
    precondition(bytes.count > 0, "a region has bytes")
    let made = unsafe ibv_reg_mr(context.domain, bytes.baseAddress, bytes.count, access.flags)
    guard let handle = unsafe made else {
      throw .last("ibv_reg_mr", "\(bytes.count) bytes on \(context.deviceName)")
    }
    unsafe self.handle = handle
    self.context = context
    address = UInt64(UInt(bitPattern: bytes.baseAddress))
    byteCount = bytes.count
    unsafe localKey = handle.pointee.lkey
    unsafe remoteKey = handle.pointee.rkey
  }

  /// Registers memory of another device, such as a GPU's, by its dmabuf.
  ///
  /// Untested without such hardware; many drivers refuse it with `EOPNOTSUPP`.
  /// - Parameters:
  ///   - descriptor: the dmabuf; it stays the caller's and may be closed at once.
  ///   - offset: first byte within the dmabuf.
  ///   - byteCount: length, more than 0.
  ///   - address: what both sides call the first byte.
  ///   - access: what the other side may do.
  ///   - context: the device that is to reach it.
  /// - Throws: `ibv_reg_dmabuf_mr` with errno.
  package init(
    dmabuf descriptor: Int32, offset: UInt64, byteCount: Int, address: UInt64,
    access: RDMAAccess, in context: RDMAContext
  ) throws(RDMAFault) {
    precondition(byteCount > 0, "a region has bytes")
    let made = unsafe ibv_reg_dmabuf_mr(
      context.domain, offset, byteCount, address, descriptor, access.flags)
    guard let handle = unsafe made else {
      throw .last("ibv_reg_dmabuf_mr", "\(byteCount) bytes on \(context.deviceName)")
    }
    unsafe self.handle = handle
    self.context = context
    self.address = address
    self.byteCount = byteCount
    unsafe localKey = handle.pointee.lkey
    unsafe remoteKey = handle.pointee.rkey
  }

  deinit { _ = unsafe ibv_dereg_mr(handle) }
}

/// A run of bytes in a registered region of this side.
package struct RDMAPiece: Sendable {
  /// Address of the first byte.
  package let address: UInt64
  /// Length in bytes.
  package let byteCount: Int
  /// The registration that covers it; kept while work requests name it.
  package let region: RDMARegion

  /// Names `byteCount` bytes from `address` on; traps if they are not within `region`.
  package init(of region: RDMARegion, address: UInt64, byteCount: Int) {
    precondition(
      byteCount >= 0 && address >= region.address
        && address - region.address <= UInt64(region.byteCount)
        && UInt64(byteCount) <= UInt64(region.byteCount) - (address - region.address),
      "a piece lies within its region")
    self.address = address
    self.byteCount = byteCount
    self.region = region
  }
}
