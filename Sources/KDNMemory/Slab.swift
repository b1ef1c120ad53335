internal import CNuma
internal import CPlatform
internal import Glibc
internal import KDNCore
internal import Synchronization

/// The memory of one slab: a memfd of its own, mapped, unmapped and closed with this value's life.
///
/// Where the kernel can, the memfd is sealed once it is mapped: nobody else can ever write into
/// it, map it writable or change its size, whatever descriptor of it they hold or reopen. Whoever
/// needs the bytes to stay holds a block; a slab alone only stays mapped.
// Safe because: the mapping never moves, and who may touch which bytes is the arena's business.
@safe package final class Slab: @unchecked Sendable {
  private static let lastID = Atomic<UInt64>(0)

  /// The slab's number, from 1; no other slab of this process ever has it.
  package let id: UInt64
  /// Where the slab lies.
  @unsafe package let base: UnsafeMutableRawPointer
  /// Bytes mapped.
  package let byteCount: Int
  /// Whether nobody but this process, through this mapping, can ever write into it.
  package let isSealed: Bool
  /// Whether the slab is made of reserved huge pages.
  let isHuge: Bool
  /// Whether the kernel keeps the slab in RAM.
  let isLocked: Bool
  private let descriptor: Int32
  private let uses: SlabUses
  private let companions = Guarded<[ObjectIdentifier: any AnyObject & Sendable]>([:])

  /// Maps a fresh memfd of zero bytes, and seals it.
  ///
  /// `byteCount` is whole pages; `node` is the NUMA node to be placed on, nil for any.
  /// - Throws: the call that failed.
  init(
    byteCount: Int, wantsHuge: Bool, wantsLock: Bool, node: Int32?, stranded: StrandedMemory
  ) throws(ArenaError) {
    var memory = unsafe wantsHuge ? Self.map(byteCount, huge: true) : nil
    isHuge = unsafe memory != nil
    if unsafe memory == nil { unsafe memory = Self.map(byteCount, huge: false) }
    guard let (base, descriptor) = unsafe memory else {
      throw .system(call: "memfd_create or mmap", code: errno, bytes: byteCount)
    }
    id = Self.lastID.add(1, ordering: .relaxed).newValue
    unsafe self.base = base
    self.descriptor = descriptor
    self.byteCount = byteCount
    if wantsHuge, !isHuge { _ = unsafe madvise(base, byteCount, kdn_madv_hugepage()) }
    if let node { unsafe numa_tonode_memory(base, byteCount, node) }
    isLocked = unsafe wantsLock && kdn_lock_on_fault(base, byteCount) == 0
    isSealed = Self.seal(descriptor)
    uses = SlabUses(byteCount: byteCount, stranded: stranded)
  }

  deinit {
    // A companion may be a device's view of the memory: it goes before the memory does.
    companions.withLock { $0.removeAll() }
    _ = unsafe munmap(base, byteCount)
    _ = close(descriptor)
    uses.slabGone()
  }

  /// Whether any client may have it mapped.
  var isShared: Bool { uses.isShared }

  /// Counts one client that may map the slab, until the value is dropped.
  package func share() -> SlabShare { SlabShare(uses) }

  /// Opens the slab for another process, to be mapped for reading and nothing else.
  ///
  /// - Returns: a fresh descriptor that the caller closes; nil if the slab is not sealed, or the
  ///   kernel gives none.
  package func openForReading() -> Int32? {
    guard isSealed else { return nil }
    return SharedFile.reopen(descriptor, O_RDONLY)
  }

  /// What `owner` keeps with the slab, such as a device's registration of it.
  ///
  /// It is made on the first call, alone, and dropped before the slab is unmapped.
  /// - Returns: nil if it could not be made; the next call tries again.
  package func companion<Companion: AnyObject & Sendable>(
    of owner: ObjectIdentifier, make: () -> Companion?
  ) -> Companion? {
    companions.withLock { companions in
      if let present = companions[owner] { return present as? Companion }
      let made = make()
      companions[owner] = made
      return made
    }
  }

  /// Drops what `owner` keeps with the slab, such as when its device is gone.
  package func dropCompanions(of owner: ObjectIdentifier) {
    // Dropped outside of the lock: its end may take long, or ask for the slab.
    let dropped = companions.withLock { $0.removeValue(forKey: owner) }
    withExtendedLifetime(dropped) {}
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

  /// Seals a mapped memfd; false if anybody could still write into it.
  private static func seal(_ descriptor: Int32) -> Bool {
    // Its owner may read; root and we ourselves can open it for writing, which the seal stops.
    guard fchmod(descriptor, 0o400) == 0, kdn_seal_writing(descriptor) == 0,
      kdn_seal_size(descriptor) == 0
    else { return false }
    // Some kernels take the seal and forget it when huge pages are mapped: tried, not believed.
    let probe = unsafe mmap(
      nil, Mapping.hugePageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard unsafe probe != MAP_FAILED else { return SharedFile.canReopen(descriptor) }
    _ = unsafe munmap(probe, Mapping.hugePageBytes)
    return false
  }

  private static func map(
    _ byteCount: Int, huge: Bool
  ) -> (base: UnsafeMutableRawPointer, descriptor: Int32)? {
    let descriptor = kdn_memfd(huge ? 1 : 0)
    guard descriptor >= 0 else { return nil }
    let protection = PROT_READ | PROT_WRITE
    guard ftruncate(descriptor, byteCount) == 0,
      let base = unsafe huge
        ? Mapping.anywhere(descriptor, byteCount, protection)
        : Mapping.aligned(descriptor, byteCount, protection)
    else {
      let code = errno
      _ = close(descriptor)
      errno = code
      return nil
    }
    return unsafe (base, descriptor)
  }
}
