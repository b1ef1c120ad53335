package import KDNCore
internal import KDNWire

/// What became of one item of a GET.
package enum GetResult: Equatable, Sendable {
  /// So many bytes lie in the item's buffer; length and checksum are the whole object's.
  case hit(bytes: Int, objectBytes: Int, objectChecksum: Checksum)
  /// So many bytes of the whole object lie in the item's buffer, encoded; length and checksum are
  /// those of the object as it was stored.
  case encoded(PayloadCodec, bytes: Int, objectBytes: Int, objectChecksum: Checksum)
  /// There are no bytes that may be used; what the buffer holds is undefined.
  case miss(MissCause)
  /// The bytes are there but do not fit the item's buffer, and were dropped.
  case noRoom(bytes: Int)

  /// A hit on what `descriptor` describes.
  init(hit descriptor: GetDescriptor) {
    guard descriptor.codec != .raw else {
      self = .hit(
        bytes: descriptor.sentBytes, objectBytes: descriptor.objectBytes,
        objectChecksum: descriptor.objectChecksum)
      return
    }
    self = .encoded(
      descriptor.codec, bytes: descriptor.sentBytes, objectBytes: descriptor.objectBytes,
      objectChecksum: descriptor.objectChecksum)
  }

  /// Why there are no bytes, nil for a hit and for bytes that did not fit.
  package var miss: MissCause? {
    guard case .miss(let cause) = self else { return nil }
    return cause
  }

  /// Bytes in the item's buffer, 0 if it was no hit.
  package var bytes: Int {
    switch self {
    case .hit(let bytes, _, _), .encoded(_, let bytes, _, _): bytes
    case .miss, .noRoom: 0
    }
  }
}
