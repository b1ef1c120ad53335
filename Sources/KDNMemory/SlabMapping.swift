internal import CNuma
internal import CPlatform
internal import Glibc

/// The memory of one slab: a memfd of its own, mapped, unmapped and closed with this value's life.
// Safe because: the mapping never moves, and who may touch which bytes is the arena's business.
@safe final class SlabMapping: @unchecked Sendable {
  private static let hugePageBytes = 2 << 20

  /// Where the slab lies.
  let base: UnsafeMutableRawPointer
  /// Bytes mapped.
  let byteCount: Int
  /// The memfd, for links that pass it to clients.
  let descriptor: Int32
  /// Whether the slab is made of reserved huge pages.
  let isHuge: Bool
  /// Whether the kernel keeps the slab in RAM.
  let isLocked: Bool

  /// Maps a fresh memfd of zero bytes.
  ///
  /// `byteCount` is whole pages; `node` is the NUMA node to be placed on, nil for any.
  /// - Throws: the call that failed.
  init(byteCount: Int, wantsHuge: Bool, wantsLock: Bool, node: Int32?) throws(ArenaError) {
    var memory = unsafe wantsHuge ? Self.map(byteCount, huge: true) : nil
    isHuge = unsafe memory != nil
    if unsafe memory == nil { unsafe memory = Self.map(byteCount, huge: false) }
    guard let (base, descriptor) = unsafe memory else {
      throw .system(call: "memfd_create or mmap", code: errno, bytes: byteCount)
    }
    unsafe self.base = base
    self.descriptor = descriptor
    self.byteCount = byteCount
    if wantsHuge, !isHuge { _ = unsafe madvise(base, byteCount, kdn_madv_hugepage()) }
    if let node { unsafe numa_tonode_memory(base, byteCount, node) }
    isLocked = unsafe wantsLock && kdn_lock_on_fault(base, byteCount) == 0
  }

  deinit {
    _ = unsafe munmap(base, byteCount)
    _ = close(descriptor)
  }

  /// Makes the kernel give all pages now.
  func prefault() {
    guard unsafe madvise(base, byteCount, kdn_madv_populate_write()) != 0, errno == EINVAL else {
      return
    }
    // Kernels before 5.14 lack the advice: touch each page, writing back what is there.
    for offset in stride(from: 0, to: byteCount, by: 4096) {
      let byte = unsafe base.load(fromByteOffset: offset, as: UInt8.self)
      unsafe base.storeBytes(of: byte, toByteOffset: offset, as: UInt8.self)
    }
  }

  private static func map(
    _ byteCount: Int, huge: Bool
  ) -> (base: UnsafeMutableRawPointer, descriptor: Int32)? {
    let descriptor = kdn_memfd(huge ? 1 : 0)
    guard descriptor >= 0 else { return nil }
    guard ftruncate(descriptor, byteCount) == 0,
      let base = unsafe huge
        ? mapAnywhere(descriptor, byteCount) : mapAligned(descriptor, byteCount)
    else {
      let code = errno
      _ = close(descriptor)
      errno = code
      return nil
    }
    return unsafe (base, descriptor)
  }

  /// Maps where the kernel likes; it puts reserved huge pages where they belong by itself.
  private static func mapAnywhere(
    _ descriptor: Int32, _ byteCount: Int
  ) -> UnsafeMutableRawPointer? {
    let base = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    return unsafe base == MAP_FAILED ? nil : base
  }

  /// Maps at a multiple of the huge page size, so that transparent huge pages fit.
  private static func mapAligned(
    _ descriptor: Int32, _ byteCount: Int
  ) -> UnsafeMutableRawPointer? {
    let spare = byteCount + hugePageBytes
    guard let region = unsafe mmap(nil, spare, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe region != MAP_FAILED
    else { return nil }
    let offset = -Int(bitPattern: region) & (hugePageBytes - 1)
    let aligned = unsafe region + offset
    guard
      let base = unsafe mmap(
        aligned, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0),
      unsafe base != MAP_FAILED
    else {
      // What lay in the middle may be gone by now, and be another thread's: it is left alone.
      let code = errno
      unsafe trim(region, offset, byteCount)
      errno = code
      return nil
    }
    unsafe trim(region, offset, byteCount)
    return unsafe base
  }

  /// Gives back what lies before and behind the aligned part of a reserved region.
  private static func trim(_ region: UnsafeMutableRawPointer, _ offset: Int, _ byteCount: Int) {
    if offset > 0 { _ = unsafe munmap(region, offset) }
    _ = unsafe munmap(region + offset + byteCount, hugePageBytes - offset)
  }
}
