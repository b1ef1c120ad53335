/// Blends of documents.
package struct BlendReport: Codable, Sendable {
  /// Blends that were assembled.
  package var assembledTotal: UInt64
  /// Their tokens.
  package var assembledTokensTotal: UInt64
  /// Their bytes.
  package var assembledBytesTotal: UInt64
  /// Seconds from the order to the last layer, all together.
  package var assembleSecondsTotal: Double
  /// Orders for a blend that was there already.
  package var hitsTotal: UInt64
  /// Orders that joined one that was under way.
  package var joinedTotal: UInt64
  /// Objects of chunks that were edited for a blend.
  package var editedObjectsTotal: UInt64
  /// Objects of chunks that were at hand as edits make them.
  package var editedKeptObjectsTotal: UInt64
  /// Objects of chunks that an order had kept as edits make them.
  package var materialisedObjectsTotal: UInt64
  /// Orders refused because a document must not be used.
  package var forbiddenTotal: UInt64
  /// Orders refused because a document is not known.
  package var unknownTotal: UInt64
  /// Orders refused for what cannot be blended.
  package var unsuitedTotal: UInt64
  /// Orders refused because chunks of a document can be had from no tier.
  package var missingTotal: UInt64
  /// Orders refused because too many blends are under way.
  package var busyTotal: UInt64
  /// Orders refused for want of room.
  package var withoutRoomTotal: UInt64
  /// Blends given up while they were under way.
  package var cancelledTotal: UInt64
  /// Blends under way.
  package var underWay: Int
  /// Blends that were assembled and are remembered.
  package var kept: Int

  /// Puts the values together.
  package init(
    assembledTotal: UInt64, assembledTokensTotal: UInt64, assembledBytesTotal: UInt64,
    assembleSecondsTotal: Double, hitsTotal: UInt64, joinedTotal: UInt64,
    editedObjectsTotal: UInt64, editedKeptObjectsTotal: UInt64, materialisedObjectsTotal: UInt64,
    forbiddenTotal: UInt64, unknownTotal: UInt64, unsuitedTotal: UInt64, missingTotal: UInt64,
    busyTotal: UInt64, withoutRoomTotal: UInt64, cancelledTotal: UInt64, underWay: Int, kept: Int
  ) {
    self.assembledTotal = assembledTotal
    self.assembledTokensTotal = assembledTokensTotal
    self.assembledBytesTotal = assembledBytesTotal
    self.assembleSecondsTotal = assembleSecondsTotal
    self.hitsTotal = hitsTotal
    self.joinedTotal = joinedTotal
    self.editedObjectsTotal = editedObjectsTotal
    self.editedKeptObjectsTotal = editedKeptObjectsTotal
    self.materialisedObjectsTotal = materialisedObjectsTotal
    self.forbiddenTotal = forbiddenTotal
    self.unknownTotal = unknownTotal
    self.unsuitedTotal = unsuitedTotal
    self.missingTotal = missingTotal
    self.busyTotal = busyTotal
    self.withoutRoomTotal = withoutRoomTotal
    self.cancelledTotal = cancelledTotal
    self.underWay = underWay
    self.kept = kept
  }
}
