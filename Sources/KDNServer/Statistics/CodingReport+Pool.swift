internal import KDNControl
internal import KDNPool

extension CodingReport {
  /// The pool's numbers and those of the profiles as they are reported.
  init(_ coding: CodingStatistics, _ profiles: ProfileStatistics) {
    self.init(
      encodedTotal: coding.encoded, encodedRawBytesTotal: coding.encodedRawBytes,
      encodedBytesTotal: coding.encodedBytes,
      encodeSecondsTotal: Double(coding.encodeNanoseconds) / 1e9, declinedTotal: coding.declined,
      failedTotal: coding.failed, withoutRoomTotal: coding.withoutRoom,
      overflowsTotal: coding.overflows, replacedTotal: coding.replaced,
      rewrittenTotal: coding.rewritten, rewritesRefusedTotal: coding.rewritesRefused,
      recodedTotal: coding.recoded, recodesDeclinedTotal: coding.recodesDeclined,
      decodedTotal: coding.decoded, decodedBytesTotal: coding.decodedBytes,
      decodesJoinedTotal: coding.decodesJoined, decodesFailedTotal: coding.decodesFailed,
      recodings: coding.recodings, queued: coding.queued, encoding: coding.encoding,
      decoding: coding.decoding,
      profilesInUse: profiles.inUse, profilesLoaded: profiles.loaded,
      profileBytes: profiles.loadedBytes, profilesLostTotal: profiles.lost)
  }
}

extension CodecReport {
  /// One form's share.
  init(_ share: PoolStatistics.CodecShare) {
    self.init(
      name: share.name, objects: share.objects, bytes: share.bytes, rawBytes: share.rawBytes)
  }
}
