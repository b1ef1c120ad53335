package import KDNCore
internal import KDNWire

extension Client {
  /// What a name stands for, and its epoch.
  package func resolve(
    document name: String, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> (document: Document, epoch: UInt64) {
    let request = Request.document(.resolve(name: name))
    guard
      case .document(.resolved(let document, let epoch, _)) =
        try ask(request, deadlineMilliseconds)
    else { mismatch() }
    return (document, epoch)
  }

  /// The object with the texts of a document's tokens, or why there is none; one of more bytes than
  /// such an object can have is missed as `overCredit`.
  package func texts(
    of document: Document, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> (bytes: [UInt8], miss: MissCause?) {
    guard let last = document.hashes.last else { return ([], .neverStored) }
    var capacity = 1 << 20
    while true {
      let (result, bytes) = try get(
        TokenTexts.key(lastChunk: last), capacity: capacity,
        deadlineMilliseconds: deadlineMilliseconds)
      if let cause = result.miss { return ([], cause) }
      guard case .noRoom(let needed) = result else { return (bytes, nil) }
      guard needed <= TokenTexts.byteCountMax, needed > capacity else {
        return ([], .overCredit)
      }
      capacity = needed
    }
  }
}
