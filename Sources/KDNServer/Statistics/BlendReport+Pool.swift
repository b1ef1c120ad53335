internal import KDNControl
internal import KDNPool

extension BlendReport {
  /// The pool's numbers and those of the sessions as they are reported.
  init(_ blends: BlendStatistics, _ refused: BlendCounters) {
    self.init(
      assembledTotal: blends.assembled, assembledTokensTotal: blends.assembledTokens,
      assembledBytesTotal: blends.assembledBytes,
      assembleSecondsTotal: Double(blends.assembleNanoseconds) / 1e9, hitsTotal: blends.hits,
      joinedTotal: blends.joined, editedObjectsTotal: blends.edited,
      editedKeptObjectsTotal: blends.editedKept,
      materialisedObjectsTotal: blends.materialised, forbiddenTotal: refused.forbidden,
      unknownTotal: refused.unknown, unsuitedTotal: refused.unsuited,
      missingTotal: blends.missing, busyTotal: blends.busy,
      withoutRoomTotal: blends.withoutRoom, cancelledTotal: blends.cancelled,
      underWay: blends.underWay, kept: blends.kept)
  }
}
