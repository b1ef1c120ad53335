internal import CIBVerbs
internal import CRDMACM
internal import Glibc

/// Keeps the library from closing an opened device under those who use it.
///
/// The library closes a device that was removed once nobody holds it; and some drivers let a device
/// go only then, so what holds one device must not hold the others too.
// Safe because: the pointer never changes and is only given back.
@safe final class RDMADeviceHold: @unchecked Sendable {
  private typealias Entry = UnsafeMutablePointer<ibv_context>?

  /// The library's list, cut to the one device.
  private let list: UnsafeMutablePointer<Entry>

  /// Holds the device that is opened as `verbs`.
  ///
  /// - Throws: `noDriver` if there are no devices, `deviceRemoved` if it is none of them any more.
  init(_ verbs: UnsafeMutablePointer<ibv_context>) throws(RDMAFault) {
    // A child of this process must not take our pinned pages along; newer kernels see to it.
    _ = ibv_fork_init()
    var count: Int32 = 0
    errno = 0
    guard let list = unsafe rdma_get_devices(&count) else {
      throw .noDriver(call: "rdma_get_devices", code: errno)
    }
    guard let others = unsafe Self.allocate(Int(count)) else {
      unsafe rdma_free_devices(list)
      throw .system(call: "malloc", code: ENOMEM, subject: "")
    }
    var otherCount = 0
    for index in 0..<Int(count) where unsafe list[index] != verbs {
      unsafe others[otherCount] = list[index]
      otherCount += 1
    }
    unsafe others[otherCount] = nil
    unsafe rdma_free_devices(others)
    guard otherCount < Int(count) else {
      unsafe free(list)
      throw .deviceRemoved
    }
    unsafe list[0] = verbs
    unsafe list[1] = nil
    unsafe self.list = list
  }

  deinit { unsafe rdma_free_devices(list) }

  /// Room for a list that the library will free, with its closing nil.
  private static func allocate(_ count: Int) -> UnsafeMutablePointer<Entry>? {
    unsafe malloc((count + 1) * MemoryLayout<Entry>.stride)?
      .bindMemory(to: Entry.self, capacity: count + 1)
  }

  /// Lets the library notice that a device has gone: it closes it as soon as nobody holds it.
  static func noticeRemoval() {
    guard let list = unsafe rdma_get_devices(nil) else { return }
    unsafe rdma_free_devices(list)
  }
}
