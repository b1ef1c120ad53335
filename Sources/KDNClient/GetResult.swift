package import KDNCore

/// What became of one item of a GET.
package enum GetResult: Equatable, Sendable {
  /// So many bytes lie in the item's buffer; the checksum is the whole object's.
  case hit(bytes: Int, objectChecksum: Checksum)
  /// There are no bytes that may be used; what the buffer holds is undefined.
  case miss(MissCause)
  /// The bytes are there but do not fit the item's buffer, and were dropped.
  case noRoom(bytes: Int)

  /// Why there are no bytes, nil for a hit and for bytes that did not fit.
  package var miss: MissCause? {
    guard case .miss(let cause) = self else { return nil }
    return cause
  }

  /// Bytes in the item's buffer, 0 if it was no hit.
  package var bytes: Int {
    guard case .hit(let bytes, _) = self else { return 0 }
    return bytes
  }
}
