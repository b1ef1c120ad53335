/// Encoding and decoding in the background.
package struct CodingReport: Codable, Sendable {
  /// Objects that were encoded.
  package var encodedTotal: UInt64
  /// Their bytes before.
  package var encodedRawBytesTotal: UInt64
  /// Their bytes after.
  package var encodedBytesTotal: UInt64
  /// Processor time that encoding took, in seconds.
  package var encodeSecondsTotal: Double
  /// Objects for which it did not pay.
  package var declinedTotal: UInt64
  /// Objects that could not be encoded.
  package var failedTotal: UInt64
  /// Objects for whose encoded bytes there was no room.
  package var withoutRoomTotal: UInt64
  /// Objects that were written raw because too many waited to be encoded.
  package var overflowsTotal: UInt64
  /// Objects in RAM that were replaced by another form of theirs.
  package var replacedTotal: UInt64
  /// Objects on disk that were replaced by another form of theirs.
  package var rewrittenTotal: UInt64
  /// Objects on disk that stayed as they were.
  package var rewritesRefusedTotal: UInt64
  /// Objects that changed their form since an administrator wanted that.
  package var recodedTotal: UInt64
  /// Objects of such orders that stayed as they were.
  package var recodesDeclinedTotal: UInt64
  /// Objects that were decoded for readers.
  package var decodedTotal: UInt64
  /// Their bytes after.
  package var decodedBytesTotal: UInt64
  /// Readers who were served by another's decoding.
  package var decodesJoinedTotal: UInt64
  /// Objects that could not be decoded.
  package var decodesFailedTotal: UInt64
  /// Orders to recode that are under way.
  package var recodings: Int
  /// Objects that wait to be encoded.
  package var queued: Int
  /// Objects that are being encoded.
  package var encoding: Int
  /// Objects that are being decoded, or wait to be.
  package var decoding: Int
  /// Profiles that objects are encoded with.
  package var profilesInUse: Int
  /// Profiles in memory, those in use among them.
  package var profilesLoaded: Int
  /// Their bytes.
  package var profileBytes: Int
  /// Profiles that were in use before the start and could not be taken into use again.
  package var profilesLostTotal: UInt64

  /// Puts the values together.
  package init(
    encodedTotal: UInt64, encodedRawBytesTotal: UInt64, encodedBytesTotal: UInt64,
    encodeSecondsTotal: Double, declinedTotal: UInt64, failedTotal: UInt64,
    withoutRoomTotal: UInt64, overflowsTotal: UInt64, replacedTotal: UInt64,
    rewrittenTotal: UInt64, rewritesRefusedTotal: UInt64, recodedTotal: UInt64,
    recodesDeclinedTotal: UInt64, decodedTotal: UInt64, decodedBytesTotal: UInt64,
    decodesJoinedTotal: UInt64, decodesFailedTotal: UInt64, recodings: Int, queued: Int,
    encoding: Int, decoding: Int, profilesInUse: Int, profilesLoaded: Int, profileBytes: Int,
    profilesLostTotal: UInt64
  ) {
    self.encodedTotal = encodedTotal
    self.encodedRawBytesTotal = encodedRawBytesTotal
    self.encodedBytesTotal = encodedBytesTotal
    self.encodeSecondsTotal = encodeSecondsTotal
    self.declinedTotal = declinedTotal
    self.failedTotal = failedTotal
    self.withoutRoomTotal = withoutRoomTotal
    self.overflowsTotal = overflowsTotal
    self.replacedTotal = replacedTotal
    self.rewrittenTotal = rewrittenTotal
    self.rewritesRefusedTotal = rewritesRefusedTotal
    self.recodedTotal = recodedTotal
    self.recodesDeclinedTotal = recodesDeclinedTotal
    self.decodedTotal = decodedTotal
    self.decodedBytesTotal = decodedBytesTotal
    self.decodesJoinedTotal = decodesJoinedTotal
    self.decodesFailedTotal = decodesFailedTotal
    self.recodings = recodings
    self.queued = queued
    self.encoding = encoding
    self.decoding = decoding
    self.profilesInUse = profilesInUse
    self.profilesLoaded = profilesLoaded
    self.profileBytes = profileBytes
    self.profilesLostTotal = profilesLostTotal
  }
}
