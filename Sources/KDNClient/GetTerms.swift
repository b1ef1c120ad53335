package import KDNCore
package import KDNWire

/// What a GET asks for beside its items.
package struct GetTerms: Sendable {
  /// Whether to wait, to verify, to be exact; `adapt` follows from `adaptation`.
  package var flags: GetRequest.Flags
  /// Codecs in which the whole of an object may come, for the caller to decode; raw always may.
  package var acceptedCodecs: CodecSet
  /// With it the items are chunks of one chain in order, and the server leaves to be computed again
  /// (`recompute`) what cannot be there by the deadline.
  package var adaptation: Adaptation?

  /// Asks for raw bytes unless told otherwise.
  package init(
    flags: GetRequest.Flags = [], acceptedCodecs: CodecSet = .raw, adaptation: Adaptation? = nil
  ) {
    self.flags = flags
    self.acceptedCodecs = acceptedCodecs
    self.adaptation = adaptation
  }

  /// The same, without checksums of partial items unless they are checked.
  func checking(_ checks: Bool) -> GetTerms {
    var terms = self
    if !checks { terms.flags.insert(.unverified) }
    return terms
  }

  /// The request for `items`.
  func request(_ items: [GetRequest.Item], place: GetPlace = .inline) -> GetRequest {
    GetRequest(
      items: items, flags: flags, acceptedCodecs: acceptedCodecs, adaptation: adaptation,
      place: place)
  }
}
