internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// An object's bytes in one form; never changes.
///
/// Another form is another body: readers have the one or the other, and keep what they have.
final class StoredBody: Sendable {
  let block: Block
  /// nil: not encoded.
  let form: StoredForm?
  /// XXH3-64 of the block's bytes.
  let checksum: Checksum
  /// The codec that these bytes were decoded from; 0: none.
  let decodedFrom: UInt8

  init(_ block: Block, form: StoredForm?, checksum: Checksum, decodedFrom: UInt8 = 0) {
    precondition(form.map { $0.byteCount == block.byteCount } ?? true, "bytes of another form")
    self.block = block
    self.form = form
    self.checksum = checksum
    self.decodedFrom = decodedFrom
  }

  /// Whether these are, or decode to, bytes of this checksum.
  func isExact(of checksum: Checksum) -> Bool {
    (form?.decodedChecksum ?? self.checksum) == checksum
  }
}
