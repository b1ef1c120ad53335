internal import Glibc

/// The record that is on its way out: small pieces are gathered, large ones stay where they lie.
///
/// A record that the socket did not take must be offered again unchanged, so it is kept in mind
/// until it is out.
@safe struct RecordStage: ~Copyable {
  /// From this length on a piece is encrypted where it lies; below it is worth a copy to share a
  /// record with its neighbours.
  static let inPlaceBytesMin = 8 << 10

  private var scratch = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
  /// Bytes of the record that were copied, and are in no queue any more.
  private(set) var copiedBytes = 0
  /// A record that lies in place, at the front of its queue.
  private var inPlace = unsafe UnsafeRawBufferPointer(start: nil, count: 0)

  deinit { unsafe scratch.deallocate() }

  /// True if no record waits.
  var isEmpty: Bool { unsafe copiedBytes == 0 && inPlace.isEmpty }
  /// True if the record lies in its queue still.
  var isInPlace: Bool { unsafe !inPlace.isEmpty }
  /// The record's bytes.
  var record: UnsafeRawBufferPointer {
    guard copiedBytes > 0 else { return unsafe inPlace }
    return unsafe UnsafeRawBufferPointer(rebasing: scratch[..<copiedBytes])
  }

  /// Makes a record of the first of `pieces`; says how many bytes it has.
  mutating func fill(from pieces: UnsafeMutableBufferPointer<iovec>) -> Int {
    precondition(isEmpty, "one record at a time")
    guard let first = unsafe pieces.first else { return 0 }
    if unsafe first.iov_len >= Self.inPlaceBytesMin {
      unsafe inPlace = UnsafeRawBufferPointer(
        start: first.iov_base, count: min(first.iov_len, TLSChannel.recordBytesMax))
      return unsafe inPlace.count
    }
    if unsafe scratch.isEmpty {
      unsafe scratch = .allocate(byteCount: TLSChannel.recordBytesMax, alignment: 64)
    }
    for index in pieces.indices where copiedBytes < TLSChannel.recordBytesMax {
      let count = unsafe min(pieces[index].iov_len, TLSChannel.recordBytesMax - copiedBytes)
      guard count > 0, let source = unsafe pieces[index].iov_base else { continue }
      let place = unsafe UnsafeMutableRawBufferPointer(rebasing: scratch[copiedBytes...])
      unsafe place.copyMemory(from: UnsafeRawBufferPointer(start: source, count: count))
      copiedBytes += count
    }
    return copiedBytes
  }

  /// The record is out.
  mutating func clear() {
    copiedBytes = 0
    unsafe inPlace = UnsafeRawBufferPointer(start: nil, count: 0)
  }
}
