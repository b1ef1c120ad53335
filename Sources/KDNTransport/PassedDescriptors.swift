internal import CPlatform
internal import Glibc

/// Descriptors that came over a Unix socket, in order, until somebody takes them.
///
/// The kernel may hand one out together with bytes that stand before the byte that carried it, so
/// only the order counts: the first frame that carries one takes the first.
package struct PassedDescriptors: ~Copyable {
  private let limit: Int
  private var waiting: [Int32] = []

  /// At most `limit` may wait, and at most 16 may come with one read.
  package init(limit: Int = Int(KDN_PASSED_DESCRIPTORS_MAX)) { self.limit = limit }

  deinit {
    for number in waiting { _ = close(number) }
  }

  /// How many wait.
  package var count: Int { waiting.count }

  /// Takes the oldest; the caller closes it.
  package mutating func next() -> Int32? {
    waiting.isEmpty ? nil : waiting.removeFirst()
  }

  /// Receives bytes into `buffer`, and descriptors that come with them.
  ///
  /// - Returns: as recvmsg: -1 with errno set, EPROTO if more descriptors come than may wait.
  @unsafe package mutating func receive(
    from socket: Int32, into buffer: UnsafeMutableRawBufferPointer
  ) -> Int {
    let capacity = min(Int(KDN_PASSED_DESCRIPTORS_MAX), limit - waiting.count)
    var passed = [Int32](repeating: -1, count: Int(KDN_PASSED_DESCRIPTORS_MAX))
    var piece = unsafe iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    var found = 0
    let count = unsafe kdn_receive_with_descriptors(
      socket, &piece, 1, &passed, capacity, &found)
    waiting += passed[..<found]
    return count
  }
}
