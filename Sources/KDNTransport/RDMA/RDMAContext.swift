internal import CIBVerbs
internal import CRDMACM
internal import Glibc
internal import KDNCore
package import KDNMemory
internal import Synchronization

/// One device, opened, with one protection domain: keys of one domain say nothing in another.
// Safe because: the pointers never change, and the library's calls on them are made for threads.
@safe package final class RDMAContext: @unchecked Sendable {
  /// The kernel's name of the device.
  package let deviceName: String
  /// The NUMA node of the device; nil if it hangs on none.
  package let numaNode: Int?
  /// Whether the device speaks iWARP.
  package let isIWARP: Bool
  /// Longest message or transfer of one work request, in bytes.
  package let maxMessageBytes: Int

  let verbs: UnsafeMutablePointer<ibv_context>
  let domain: UnsafeMutablePointer<ibv_pd>
  /// What the device can do.
  let attributes: ibv_device_attr
  /// Keeps the library from closing the device as long as anything of it is used.
  private let hold: RDMADeviceHold
  private let gone = Atomic<Bool>(false)

  /// Makes a protection domain on an opened device that is used through `port`.
  ///
  /// - Throws: the call that failed.
  init(verbs: UnsafeMutablePointer<ibv_context>, port: UInt8) throws(RDMAFault) {
    let name = unsafe String(cString: ibv_get_device_name(verbs.pointee.device))
    hold = unsafe try RDMADeviceHold(verbs)
    var attributes = ibv_device_attr()
    let queried = unsafe ibv_query_device(verbs, &attributes)
    guard queried == 0 else { throw .of(queried, "ibv_query_device", name) }
    var portAttributes = ibv_port_attr()
    let asked = unsafe ___ibv_query_port(verbs, max(1, port), &portAttributes)
    guard asked == 0 else { throw .of(asked, "ibv_query_port", name) }
    guard let domain = unsafe ibv_alloc_pd(verbs) else { throw .last("ibv_alloc_pd", name) }
    unsafe self.verbs = verbs
    unsafe self.domain = domain
    self.attributes = attributes
    deviceName = name
    isIWARP = unsafe verbs.pointee.device.pointee.transport_type == IBV_TRANSPORT_IWARP
    numaNode = RDMADevice(named: name, isIWARP: false).numaNode
    maxMessageBytes = max(4096, Int(portAttributes.max_msg_sz))
  }

  deinit { _ = unsafe ibv_dealloc_pd(domain) }

  /// The device as the kernel shows it.
  package var device: RDMADevice { RDMADevice(named: deviceName, isIWARP: isIWARP) }

  /// Whether the device was removed; nothing is registered with it any more.
  package var isGone: Bool {
    // Acquiring: whoever drops registrations after it was set leaves none that come later.
    gone.load(ordering: .acquiring)
  }

  /// Takes note that the device was removed.
  func markGone() { gone.store(true, ordering: .releasing) }

  /// Reads that one connection may have under way: those it serves, and those it issues.
  var readLimits: (served: UInt8, issued: UInt8) {
    (
      served: UInt8(max(1, min(16, attributes.max_qp_rd_atom))),
      issued: UInt8(max(1, min(16, attributes.max_qp_init_rd_atom)))
    )
  }

  /// The slab's registration on this device: made on the first call, gone before the slab's memory.
  ///
  /// Nobody but this side's own work requests can reach the slab through it.
  /// - Returns: nil if the kernel refuses, for example for want of lockable memory, or the device
  ///   has gone.
  package func region(of slab: Slab) -> RDMARegion? {
    slab.companion(of: ObjectIdentifier(self)) {
      guard !isGone else { return nil }
      let bytes = unsafe UnsafeMutableRawBufferPointer(start: slab.base, count: slab.byteCount)
      return unsafe try? RDMARegion(bytes, access: [], in: self)
    }
  }
}

/// The devices that a server uses: one context each, made on first use and shared by its listeners.
package final class RDMADevices: Sendable {
  private let made = Guarded<[UInt: RDMAContext]>([:])

  /// Starts with no device opened.
  package init() {}

  /// The contexts made so far.
  package func contexts() -> [RDMAContext] {
    made.withLock { Array($0.values) }.sorted { $0.deviceName < $1.deviceName }
  }

  /// Forgets the device of `context`, such as when it was removed.
  ///
  /// - Returns: false if it was not known any more.
  @discardableResult
  package func forget(_ context: RDMAContext) -> Bool {
    context.markGone()
    return made.withLock { made in
      let before = made.count
      made = made.filter { $0.value !== context }
      return made.count < before
    }
  }

  /// The context of an opened device.
  func context(
    of verbs: UnsafeMutablePointer<ibv_context>, port: UInt8
  ) throws(RDMAFault) -> RDMAContext {
    let key = UInt(bitPattern: verbs)
    let found: Result<RDMAContext, RDMAFault> = made.withLock { made in
      if let present = made[key] { return .success(present) }
      do throws(RDMAFault) {
        guard let verbs = unsafe UnsafeMutablePointer<ibv_context>(bitPattern: key) else {
          return .failure(.noDevice)
        }
        let fresh = unsafe try RDMAContext(verbs: verbs, port: port)
        made[key] = fresh
        return .success(fresh)
      } catch {
        return .failure(error)
      }
    }
    return try found.get()
  }
}
