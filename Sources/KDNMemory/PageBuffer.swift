internal import Glibc

/// Page-aligned memory of our own, zeroed; freed with the last reference.
// Safe because: the pointer never changes, and who writes when is the owner's business.
@safe package final class PageBuffer: @unchecked Sendable {
  /// First byte; a multiple of 4096.
  @unsafe package let base: UnsafeMutableRawPointer
  /// Length in bytes; a multiple of 4096.
  package let byteCount: Int

  /// Takes `byteCount` bytes, rounded up to whole pages.
  package init(byteCount: Int) {
    precondition(byteCount > 0, "a buffer has bytes")
    self.byteCount = (byteCount + 4095) & ~4095
    unsafe base = .allocate(byteCount: self.byteCount, alignment: 4096)
    unsafe memset(base, 0, self.byteCount)
  }

  deinit { unsafe base.deallocate() }

  /// All of it.
  @unsafe package var bytes: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: base, count: byteCount)
  }
}
