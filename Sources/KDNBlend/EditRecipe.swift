package import KDNCore

/// What a document's edits come to together: tokens to leave out, strengths of keys and values, and
/// the class that it is delivered as.
///
/// The order in which drops came means nothing: they unite. Strengths multiply in the order of the
/// operations, in f32. What two lists of operations do alike is the same recipe, with one hash.
package struct EditRecipe: Hashable, Sendable {
  /// Tokens whose keys or values are multiplied.
  package struct Run: Hashable, Sendable {
    /// The tokens.
    package let tokens: Range<Int>
    /// By what; not 1.
    package let strength: Float
  }

  /// Tokens of the document.
  package let tokenCount: Int
  /// Tokens left out.
  package let drops: TokenSpans
  /// Runs of kept tokens with other keys: ascending, disjoint, neighbours of one strength joined.
  package let keys: [Run]
  /// Runs of kept tokens with other values, likewise.
  package let values: [Run]
  /// The class that chunks are delivered as, after all strengths; nil: as they are.
  package let codec: PayloadCodec?

  /// Largest magnitude that strengths may come to together: beyond it f16 keys overflow.
  package static let productMax: Float = 16
  private static let domain = "kdn/1/edits"
  private static let profileDomain = "kdn/1/edits/profile"

  /// Works out what `operations` come to on a document of `tokenCount` tokens.
  ///
  /// - Throws: a fault that names the field of an operation that does not fit the document,
  ///   `permille` for a `keep` that was not resolved to drops, `document` if nothing would be kept,
  ///   `strength` if strengths come to more than 16, or `count` for more than 64 operations.
  package init(_ operations: [EditOperation] = [], tokenCount: Int) throws(FieldFault) {
    guard operations.count <= EditOperation.countMax else {
      throw FieldFault(
        "count", value: operations.count, limit: EditOperation.countMax, "too many edits")
    }
    var drops = TokenSpans.none
    var keys: [(Float, TokenSpans)] = []
    var values: [(Float, TokenSpans)] = []
    var codec: PayloadCodec?
    for operation in operations {
      try operation.check(spansMax: EditOperation.keptSpansMax, tokenCount: tokenCount)
      switch operation {
      case .scaleKeys(let strength, let spans): keys.append((strength, spans))
      case .scaleValues(let strength, let spans): values.append((strength, spans))
      case .drop(let spans): drops = drops.union(spans)
      // Higher numbers are smaller classes.
      case .requantise(let other):
        codec = codec.map { $0.rawValue > other.rawValue ? $0 : other } ?? other
      case .keep(let permille, _):
        throw FieldFault("permille", value: permille, limit: 0, "scores were not resolved to drops")
      }
    }
    guard drops.tokenCount < tokenCount else {
      throw FieldFault("document", value: 0, limit: tokenCount, "nothing of it is kept")
    }
    self.tokenCount = tokenCount
    self.drops = drops
    self.codec = codec
    self.keys = try Self.runs(keys, dropped: drops)
    self.values = try Self.runs(values, dropped: drops)
  }

  /// Whether the document stays as it is.
  package var isEmpty: Bool {
    drops.count == 0 && keys.isEmpty && values.isEmpty && codec == nil
  }

  /// Whether chunks are other ones before rows are taken of them.
  package var changesChunks: Bool { !keys.isEmpty || !values.isEmpty || codec != nil }

  /// Names what the recipe does, whatever operations made it: SHA-256 of its canonical encoding.
  package var hash: ChunkHash { HashChain.opaque(canonicalEncoding) }

  /// The same where a profile decides the bytes too; the recipe's own for `ChunkHash.none`.
  package func hash(by profile: ChunkHash) -> ChunkHash {
    guard profile != .none else { return hash }
    var writer = ByteWriter(capacity: 80)
    writer.put(contentsOf: Self.profileDomain.utf8)
    hash.write(to: &writer)
    profile.write(to: &writer)
    return HashChain.opaque(writer.bytes)
  }

  /// `kdn/1/edits`; u32 count and spans left out; then twice, for keys and for values, u32 count
  /// and for each run u32 start, u32 end, f32 strength; then u8 class, if there is one.
  package var canonicalEncoding: [UInt8] {
    var writer = ByteWriter(
      capacity: 32 + drops.count * 8 + (keys.count + values.count) * 12)
    writer.put(contentsOf: Self.domain.utf8)
    writer.put(UInt32(drops.count))
    drops.write(to: &writer)
    for runs in [keys, values] {
      writer.put(UInt32(runs.count))
      for run in runs {
        writer.put(UInt32(run.tokens.lowerBound))
        writer.put(UInt32(run.tokens.upperBound))
        writer.put(run.strength.bitPattern)
      }
    }
    if let codec { writer.put(codec.rawValue) }
    return writer.bytes
  }

  /// Multiplies what lies over each other, between any two bounds at a time.
  private static func runs(
    _ scalings: [(Float, TokenSpans)], dropped: TokenSpans
  ) throws(FieldFault) -> [Run] {
    let all = scalings.map(\.1.ranges) + [dropped.ranges]
    let bounds = Set(all.joined().flatMap { [$0.lowerBound, $0.upperBound] }).sorted()
    var next = [Int](repeating: 0, count: all.count)
    var runs: [Run] = []
    for (start, end) in zip(bounds, bounds.dropFirst()) {
      var strength: Float = 1
      for (index, ranges) in all.enumerated() {
        while next[index] < ranges.count, ranges[next[index]].upperBound <= start {
          next[index] += 1
        }
        guard next[index] < ranges.count, ranges[next[index]].contains(start) else { continue }
        // What is dropped comes last, and is not multiplied.
        strength = index < scalings.count ? strength * scalings[index].0 : 1
      }
      guard abs(strength) <= productMax else {
        throw FieldFault(
          "strength", value: UInt64(strength.bitPattern), limit: UInt64(productMax.bitPattern),
          "edits come to more than 16 together")
      }
      guard strength != 1 else { continue }
      if let last = runs.last, last.tokens.upperBound == start, last.strength == strength {
        runs[runs.count - 1] = Run(tokens: last.tokens.lowerBound..<end, strength: strength)
      } else {
        runs.append(Run(tokens: start..<end, strength: strength))
      }
    }
    return runs
  }
}
