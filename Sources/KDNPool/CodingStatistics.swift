/// Encoding and decoding, counted.
package struct CodingStatistics: Equatable, Sendable {
  /// Objects that were encoded.
  package var encoded: UInt64 = 0
  /// Their bytes before.
  package var encodedRawBytes: UInt64 = 0
  /// Their bytes after.
  package var encodedBytes: UInt64 = 0
  /// Objects for which it did not pay.
  package var declined: UInt64 = 0
  /// Objects that could not be encoded, or whose encoded bytes were not what they should be.
  package var failed: UInt64 = 0
  /// Objects for whose encoded bytes there was no room.
  package var withoutRoom: UInt64 = 0
  /// Objects that were written raw because too many waited to be encoded, or for too long.
  package var overflows: UInt64 = 0
  /// Objects in RAM that were replaced by another form of theirs.
  package var replaced: UInt64 = 0
  /// Objects in the slower tier that were replaced by another form of theirs.
  package var rewritten: UInt64 = 0
  /// Objects there that stayed as they were, for whatever reason.
  package var rewritesRefused: UInt64 = 0
  /// Objects that changed their form since an administrator wanted that.
  package var recoded: UInt64 = 0
  /// Objects of such orders that stayed as they were, for whatever reason.
  package var recodesDeclined: UInt64 = 0
  /// Objects that were decoded for readers.
  package var decoded: UInt64 = 0
  /// Their bytes after.
  package var decodedBytes: UInt64 = 0
  /// Readers who were served by another's decoding.
  package var decodesJoined: UInt64 = 0
  /// Objects that could not be decoded, or whose decoded bytes were not what they should be.
  package var decodesFailed: UInt64 = 0
  /// Objects that wait to be encoded.
  package var queued = 0
  /// Objects that are being encoded.
  package var encoding = 0
  /// Objects that are being decoded, or wait to be.
  package var decoding = 0
  /// Orders to recode that are under way.
  package var recodings = 0
  /// Nanoseconds that encoding took.
  package var encodeNanoseconds: UInt64 = 0
}

/// Limits of coding.
package struct CodingSettings: Sendable {
  /// Most objects that wait to be encoded.
  package var queuedMax = 256
  /// How long an object waits on its way to the slower tier to be encoded; then it is written raw.
  package var writeWaitMilliseconds: UInt64 = 5_000
  /// Most objects that are encoded at a time.
  package var workersMax = 1
  /// The share of one CPU's time that encoding may take, in percent, by the clock on the wall; 100
  /// for each worker's whole.
  package var cpuPercent = 50
  /// Most objects that are decoded, or wait to be.
  package var decodesMax = 1024
  /// Most slots of RAM that one tick looks at for cold objects.
  package var slotsPerTick = 1024
  /// Whether requests are waiting, so that no encoding begins; any thread.
  package var isServing: @Sendable () -> Bool = { false }

  /// Creates the default limits.
  package init() {}
}
