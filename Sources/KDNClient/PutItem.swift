package import KDNCore
package import KDNWire

/// An object to be stored: its facts and where its bytes lie, which may be in several places.
@unsafe package struct PutItem {
  /// The facts; `totalBytes` must be the sum of the pieces.
  package let facts: PutBeginRequest
  /// The object's bytes, in order; they must stay readable and unchanged until the store is over.
  package let pieces: [UnsafeRawBufferPointer]
  /// Checksum of all bytes if the caller knows it already, nil to have it taken while sending.
  package let checksum: Checksum?

  /// Creates an item.
  package init(
    _ facts: PutBeginRequest, pieces: [UnsafeRawBufferPointer], checksum: Checksum? = nil
  ) {
    unsafe self.facts = facts
    unsafe self.pieces = pieces
    unsafe self.checksum = checksum
  }
}

/// What became of one item of a batch of stores.
package enum PutResult: Equatable, Sendable {
  /// The object is there, by this store or by an earlier one with the same bytes.
  case stored(PutCommitResponse.State, Checksum)
  /// The server refused it.
  case refused(Status, ErrorBody)
}
