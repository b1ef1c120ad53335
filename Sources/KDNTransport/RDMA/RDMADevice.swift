internal import CIBVerbs
internal import Glibc

/// A device as the kernel shows it, opened or not.
package struct RDMADevice: Hashable, Sendable {
  /// The kernel's name, for example `mlx5_0`.
  package let name: String
  /// The NUMA node it hangs on; nil if it hangs on none.
  package let numaNode: Int?
  /// Whether it speaks iWARP and not InfiniBand's transport.
  package let isIWARP: Bool
  /// The IP addresses in its GID tables, as text.
  package let addresses: [String]

  /// The devices of this machine, by name; harmless where there is no driver.
  ///
  /// - Returns: at least one device, or why there is none.
  package static func discover() -> Result<[RDMADevice], RDMAFault> {
    var count: Int32 = 0
    errno = 0
    guard let list = unsafe ibv_get_device_list(&count) else {
      return .failure(.noDriver(call: "ibv_get_device_list", code: errno))
    }
    defer { unsafe ibv_free_device_list(list) }
    var devices: [RDMADevice] = []
    for index in 0..<Int(count) {
      guard let device = unsafe list[index], let name = unsafe ibv_get_device_name(device) else {
        continue
      }
      let isIWARP = unsafe device.pointee.transport_type == IBV_TRANSPORT_IWARP
      devices.append(RDMADevice(named: unsafe String(cString: name), isIWARP: isIWARP))
    }
    return devices.isEmpty ? .failure(.noDevice) : .success(devices.sorted { $0.name < $1.name })
  }

  /// `devices` with those first that hang on `node`, and those last that hang on another.
  package static func sortedByDistance(
    _ devices: [RDMADevice], from node: Int?
  ) -> [RDMADevice] {
    func distance(_ device: RDMADevice) -> Int {
      guard let node, let own = device.numaNode else { return 1 }
      return own == node ? 0 : 2
    }
    // Stable, so that equally near devices keep their order.
    return devices.enumerated()
      .sorted { (distance($0.element), $0.offset) < (distance($1.element), $1.offset) }
      .map(\.element)
  }

  /// Reads what the kernel tells of the device `name`.
  init(named name: String, isIWARP: Bool) {
    self.name = name
    self.isIWARP = isIWARP
    numaNode = Self.text("/sys/class/infiniband/\(name)/device/numa_node")
      .flatMap { Int($0) }.flatMap { $0 < 0 ? nil : $0 }
    addresses = Self.addresses(of: name)
  }

  private init(name: String, numaNode: Int?) {
    self.name = name
    self.numaNode = numaNode
    isIWARP = false
    addresses = []
  }

  /// A device that only has a name and a place, for decisions about places.
  static func placed(_ name: String, at node: Int?) -> RDMADevice {
    RDMADevice(name: name, numaNode: node)
  }

  /// The first entries of a port's GID table are looked at; more are other forms of the same.
  private static let gidsPerPort = 32
  private static let ports = 1...4

  private static func addresses(of name: String) -> [String] {
    var found: [String] = []
    for port in ports {
      for index in 0..<gidsPerPort {
        let path = "/sys/class/infiniband/\(name)/ports/\(port)/gids/\(index)"
        guard let gid = text(path) else { break }
        guard let address = address(ofGID: gid), !found.contains(address) else { continue }
        found.append(address)
      }
    }
    return found
  }

  /// The IP address that a GID stands for; nil for link-local and empty ones.
  static func address(ofGID gid: String) -> String? {
    let groups = gid.split(separator: ":").compactMap { UInt16($0, radix: 16) }
    guard groups.count == 8, groups.contains(where: { $0 != 0 }) else { return nil }
    if groups[..<5].allSatisfy({ $0 == 0 }), groups[5] == 0xFFFF {
      return "\(groups[6] >> 8).\(groups[6] & 255).\(groups[7] >> 8).\(groups[7] & 255)"
    }
    guard groups[0] & 0xFFC0 != 0xFE80, groups[0] != 0 else { return nil }
    return groups.map { String($0, radix: 16) }.joined(separator: ":")
  }

  /// The first line of a small file of the kernel; nil if there is none.
  private static func text(_ path: String) -> String? {
    let number = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard number >= 0 else { return nil }
    defer { _ = close(number) }
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 128) { buffer, count in
      count = unsafe max(0, read(number, buffer.baseAddress, buffer.count))
    }
    let line = bytes.prefix { $0 != UInt8(ascii: "\n") }
    return line.isEmpty ? nil : String(decoding: line, as: UTF8.self)
  }
}
