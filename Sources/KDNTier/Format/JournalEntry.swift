package import KDNCore

/// One thing that a directory remembers besides its records.
///
/// Entries count in the order in which they were written.
package enum JournalEntry: Equatable, Sendable {
  /// A namespace is at this generation: records of earlier ones are dead.
  case generation(NamespaceName, UInt64)
  /// Records of these keys up to a sequence number are dead.
  case purgedKeys(NamespaceName, sequence: UInt64, keys: [ObjectKey])
  /// Records of these layouts up to a sequence number are dead.
  case purgedLayouts(NamespaceName, sequence: UInt64, layouts: [LayoutID])
  /// Records of layout objects of these chunks up to a sequence number are dead.
  case purgedChunks(NamespaceName, sequence: UInt64, hashes: [ChunkHash])
  /// A namespace knows this layout.
  case layout(NamespaceName, Layout)
  /// An object is not to be reclaimed before this time, in milliseconds since 1970 by the wall
  /// clock.
  case pinned(NamespaceName, ObjectKey, endMilliseconds: UInt64)
  /// A pin has ended before its time.
  case unpinned(NamespaceName, ObjectKey)
  /// Sequence numbers below this one have perhaps been used.
  case sequenceReserved(UInt64)

  /// Most keys, layouts or hashes of one entry; more take several entries.
  package static let countMax = 4096
  /// Longest canonical encoding of a layout that fits; a longer one cannot be remembered.
  package static let layoutBytesMax = 512 << 10

  /// The number that an entry begins with.
  enum Kind: UInt8, CaseIterable {
    case generation = 1
    case purgedKeys = 2
    case purgedLayouts = 3
    case purgedChunks = 4
    case layout = 5
    case pinned = 6
    case unpinned = 7
    case sequenceReserved = 8
  }

  /// Bytes that `write` appends; without writing them, except for a layout.
  package var encodedBytes: Int {
    switch self {
    case .generation(let name, _): Self.bytes(of: name) + 8
    case .purgedKeys(let name, _, let keys):
      Self.bytes(of: name) + 10 + keys.count * ObjectKey.byteCount
    case .purgedLayouts(let name, _, let layouts):
      Self.bytes(of: name) + 10 + layouts.count * Self.layoutIDBytes
    case .purgedChunks(let name, _, let hashes):
      Self.bytes(of: name) + 10 + hashes.count * ChunkHash.byteCount
    case .layout(let name, let layout):
      Self.bytes(of: name) + 4 + layout.canonicalEncoding.count
    case .pinned(let name, _, _): Self.bytes(of: name) + ObjectKey.byteCount + 8
    case .unpinned(let name, _): Self.bytes(of: name) + ObjectKey.byteCount
    case .sequenceReserved: 1 + 8
    }
  }

  static let layoutIDBytes = 16

  /// Bytes of the kind and a name behind its length.
  private static func bytes(of name: NamespaceName) -> Int { 1 + 2 + name.text.utf8.count }
}
