internal import CPlatform
internal import Glibc

/// Memory that one client writes and this process reads: the place of its puts.
///
/// The client may change it at any time, punch holes into it and map it as it likes, so it is only
/// ever copied out of, by the kernel: a read of memory that cannot be had then fails, where a touch
/// of it would kill the process.
package final class SharedWindow: Sendable {
  /// Length in bytes; whole pages.
  package let byteCount: Int
  private let descriptor: Int32

  /// Makes a window of at least `byteCount` zero bytes, rounded up to whole pages.
  ///
  /// - Throws: the call that failed, also where the kernel cannot keep its size fixed.
  package init(byteCount: Int) throws(ArenaError) {
    precondition(byteCount > 0, "a window has bytes")
    self.byteCount = (byteCount + 4095) & ~4095
    let descriptor = kdn_memfd(0)
    guard descriptor >= 0 else {
      throw .system(call: "memfd_create", code: errno, bytes: byteCount)
    }
    guard ftruncate(descriptor, self.byteCount) == 0, kdn_seal_size(descriptor) == 0 else {
      let code = errno
      _ = close(descriptor)
      throw .system(call: "ftruncate or F_ADD_SEALS", code: code, bytes: byteCount)
    }
    self.descriptor = descriptor
  }

  deinit { _ = close(descriptor) }

  /// Opens the window for the client that writes it.
  ///
  /// - Returns: a fresh descriptor that the caller closes; nil if the kernel gives none.
  package func openForWriting() -> Int32? { SharedFile.reopen(descriptor, O_RDWR) }

  /// Copies `range`, which must lie inside, to `target`; false if the kernel cannot.
  @unsafe package func copy(_ range: Range<Int>, to target: UnsafeMutableRawPointer) -> Bool {
    precondition(range.lowerBound >= 0 && range.upperBound <= byteCount, "a range is inside")
    var done = 0
    while done < range.count {
      let offset = range.lowerBound + done
      let count = unsafe pread(descriptor, target + done, range.count - done, offset)
      guard count > 0 || (count < 0 && errno == EINTR) else { return false }
      done += max(0, count)
    }
    return true
  }
}
