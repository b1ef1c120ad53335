internal import CPlatform
internal import Glibc

/// A mapping of memory that another process passed: a slab to be read, or a window to be written.
// Safe because: the mapping never moves, and the other process cannot shorten what is below it.
@safe package final class SharedView: @unchecked Sendable {
  /// Length in bytes.
  package let byteCount: Int
  /// Whether this side may write.
  package let isWritable: Bool
  private let base: UnsafeMutableRawPointer

  /// Maps the first `byteCount` bytes of the file `descriptor`, which is taken over and closed.
  ///
  /// - Throws: if it is no memfd of at least that length and of fixed size, for which the code is
  ///   EPROTO, or if the kernel cannot map it.
  package init(
    mapping descriptor: Int32, byteCount: Int, writable: Bool
  ) throws(ArenaError) {
    defer { _ = close(descriptor) }
    var status = stat()
    // A file that shrank below the mapping would kill whoever touches it.
    guard byteCount > 0, unsafe fstat(descriptor, &status) == 0, status.st_size >= byteCount,
      kdn_is_size_sealed(descriptor) == 1
    else { throw .system(call: "fstat", code: EPROTO, bytes: byteCount) }
    let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
    // Reserved huge pages may be larger than what is aligned to here.
    guard
      let base = unsafe Mapping.aligned(descriptor, byteCount, protection)
        ?? Mapping.anywhere(descriptor, byteCount, protection)
    else {
      throw .system(call: "mmap", code: errno, bytes: byteCount)
    }
    unsafe self.base = base
    self.byteCount = byteCount
    isWritable = writable
  }

  deinit { _ = unsafe munmap(base, byteCount) }

  /// What is there now; valid as long as the view lives.
  @unsafe package var bytes: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: base, count: byteCount)
  }

  /// What is there, to be written; only of a writable view.
  @unsafe package var writableBytes: UnsafeMutableRawBufferPointer {
    precondition(isWritable, "the view was mapped for reading")
    return unsafe UnsafeMutableRawBufferPointer(start: base, count: byteCount)
  }
}
