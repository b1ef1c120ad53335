/// Blends, counted.
package struct BlendStatistics: Equatable, Sendable {
  /// Blends that were assembled.
  package var assembled: UInt64 = 0
  /// Their tokens.
  package var assembledTokens: UInt64 = 0
  /// Their bytes.
  package var assembledBytes: UInt64 = 0
  /// Nanoseconds from the order to the last layer, of those that were assembled.
  package var assembleNanoseconds: UInt64 = 0
  /// Orders for a blend that was there already.
  package var hits: UInt64 = 0
  /// Orders that joined one that was under way.
  package var joined: UInt64 = 0
  /// Objects of chunks that were edited for a blend.
  package var edited: UInt64 = 0
  /// Objects of chunks that were at hand as edits make them.
  package var editedKept: UInt64 = 0
  /// Objects of chunks that an order had kept as edits make them.
  package var materialised: UInt64 = 0
  /// Orders refused because a chunk of a document can be had from no tier.
  package var missing: UInt64 = 0
  /// Orders refused because too many blends are under way.
  package var busy: UInt64 = 0
  /// Orders refused for want of room.
  package var withoutRoom: UInt64 = 0
  /// Blends given up after their first layer could be seen, or while their chunks were gathered:
  /// what they are made of was purged or retired, or the daemon ends.
  package var cancelled: UInt64 = 0
  /// Blends under way.
  package var underWay = 0
  /// Blends that were assembled and are remembered.
  package var kept = 0
}

/// Limits of blends.
package struct BlendSettings: Sendable {
  /// Most blends of one namespace under way.
  package var perNamespaceMax = 8
  /// Most blends under way.
  package var underWayMax = 32
  /// Most orders that wait for one blend.
  package var waitersMax = 256
  /// Most layers of one blend that are written at a time.
  package var writersMax = 1
  /// Most tokens of one blend.
  package var tokensMax = 1 << 20
  /// Most chunks that one blend reads.
  package var chunksMax = 1 << 16
  /// How long an assembled layer lives.
  package var ttlMilliseconds: UInt64 = 600_000
  /// Most blends that are remembered; the oldest goes first, with its layers.
  package var keptMax = 1024

  /// Creates the default limits.
  package init() {}
}
