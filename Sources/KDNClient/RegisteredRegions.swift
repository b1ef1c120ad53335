internal import KDNTransport
internal import KDNWire

/// Memory of the caller that is registered as long as the connection wants it; see
/// `Connection.register`.
// Safe because: it holds no pointer, only addresses.
@safe package final class RegisteredRegion {
  /// Address of the first byte.
  let address: UInt64
  /// Length in bytes.
  let byteCount: Int
  /// The registration; nil on a link that needs none, and once it was released.
  private(set) var region: RDMARegion?
  /// Whether the memory is a device's, which this process must not touch.
  let isOnDevice: Bool

  init(address: UInt64, byteCount: Int, region: RDMARegion?, isOnDevice: Bool = false) {
    self.address = address
    self.byteCount = byteCount
    self.region = region
    self.isOnDevice = isOnDevice
  }

  /// Ends the registration; the memory may go.
  ///
  /// No request that uses it may be under way.
  package func release() { region = nil }

  /// Whether some of these bytes are.
  func overlaps(_ address: UInt64, _ byteCount: Int) -> Bool {
    region != nil && address < self.address + UInt64(self.byteCount)
      && self.address < address + UInt64(byteCount)
  }

  /// Whether all of these bytes are registered.
  func covers(_ address: UInt64, _ byteCount: Int) -> Bool {
    region != nil && address >= self.address
      && address - self.address <= UInt64(self.byteCount)
      && UInt64(byteCount) <= UInt64(self.byteCount) - (address - self.address)
  }
}

/// What the caller has registered on one connection, by address.
struct RegisteredRegions {
  private var regions: [RegisteredRegion] = []
  /// Regions of devices that were ever kept.
  private var deviceCount = 0

  /// Most registrations of one connection.
  static let countMax = 4096

  /// Whether another may be added.
  mutating func hasRoom() -> Bool {
    regions.removeAll { $0.region == nil }
    return regions.count < Self.countMax
  }

  /// Keeps a registration until it is released.
  mutating func keep(_ region: RegisteredRegion) {
    if region.isOnDevice { deviceCount += 1 }
    regions.insert(region, at: firstBeyond(region.address))
  }

  /// The registration that covers all of these bytes, if there is one.
  func find(_ address: UInt64, _ byteCount: Int) -> RegisteredRegion? {
    // Mostly the last that begins in front; regions may lie over each other.
    regions[..<firstBeyond(address)].last { $0.covers(address, byteCount) }
  }

  /// Whether some of these bytes are a device's.
  func isOnDevice(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard deviceCount > 0 else { return false }
    let address = UInt64(UInt(bitPattern: bytes.baseAddress))
    return regions.contains { $0.isOnDevice && $0.overlaps(address, bytes.count) }
  }

  /// The index of the first region that begins beyond `address`.
  private func firstBeyond(_ address: UInt64) -> Int {
    var low = 0
    var high = regions.count
    while low < high {
      let middle = (low + high) / 2
      if regions[middle].address <= address { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

/// Memory that one request names, registered before or for it alone.
struct RemoteLoan {
  /// As the request names it.
  let region: RemoteRegion
  /// Kept until the request is over.
  let hold: RDMARegion?
  /// Whether the memory is a device's, which this process must not touch.
  var isOnDevice = false
}
