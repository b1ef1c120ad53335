internal import Glibc

/// Places for mappings of shared files.
enum Mapping {
  /// Bytes of a huge page.
  static let hugePageBytes = 2 << 20

  /// Maps where the kernel likes; it puts reserved huge pages where they belong by itself.
  static func anywhere(
    _ descriptor: Int32, _ byteCount: Int, _ protection: Int32
  ) -> UnsafeMutableRawPointer? {
    let base = unsafe mmap(nil, byteCount, protection, MAP_SHARED, descriptor, 0)
    return unsafe base == MAP_FAILED ? nil : base
  }

  /// Maps at a multiple of the huge page size, so that transparent huge pages fit.
  static func aligned(
    _ descriptor: Int32, _ byteCount: Int, _ protection: Int32
  ) -> UnsafeMutableRawPointer? {
    let spare = byteCount + hugePageBytes
    guard let region = unsafe mmap(nil, spare, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe region != MAP_FAILED
    else { return nil }
    let offset = -Int(bitPattern: region) & (hugePageBytes - 1)
    let place = unsafe region + offset
    guard
      let base = unsafe mmap(
        place, byteCount, protection, MAP_SHARED | MAP_FIXED, descriptor, 0),
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
