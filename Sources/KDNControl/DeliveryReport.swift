/// What GET has sent in which form, and left to be computed again.
package struct DeliveryReport: Codable, Sendable {
  /// One form.
  package struct Codec: Codable, Sendable {
    /// Name of the codec, `raw` among them.
    package var name: String
    /// Items sent in it.
    package var itemsTotal: UInt64
    /// Bytes sent.
    package var sentBytesTotal: UInt64
    /// Bytes that they stand for.
    package var rawBytesTotal: UInt64

    /// Puts the values together.
    package init(
      name: String, itemsTotal: UInt64, sentBytesTotal: UInt64, rawBytesTotal: UInt64
    ) {
      self.name = name
      self.itemsTotal = itemsTotal
      self.sentBytesTotal = sentBytesTotal
      self.rawBytesTotal = rawBytesTotal
    }
  }

  /// Raw first, then those that were sent at least once.
  package var codecs: [Codec]
  /// Answers in which items were chosen by the deadline.
  package var adaptedTotal: UInt64
  /// Items left to be computed again.
  package var recomputeTotal: UInt64
  /// Items refused because only lossy bytes were there and exact ones were asked for.
  package var inexactTotal: UInt64

  /// Puts the values together.
  package init(
    codecs: [Codec], adaptedTotal: UInt64, recomputeTotal: UInt64, inexactTotal: UInt64
  ) {
    self.codecs = codecs
    self.adaptedTotal = adaptedTotal
    self.recomputeTotal = recomputeTotal
    self.inexactTotal = inexactTotal
  }
}
