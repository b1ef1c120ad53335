/// Runs of tokens of one text: ascending, disjoint, none empty.
///
/// The form in which edits and blends say which tokens they mean, on the wire and on disk: each a
/// u32 of its first token and a u32 of the token behind its last.
package struct TokenSpans: Hashable, Sendable {
  /// The runs, in order.
  package let ranges: [Range<Int>]

  /// No tokens.
  package static let none = TokenSpans(unchecked: [])
  /// The first token of a text.
  package static let first = TokenSpans(unchecked: [0..<1])
  /// Tokens are numbered below this: as many as there are RoPE positions.
  package static let tokenMax = Int(Int32.max)
  /// Bytes of a run in its encoding.
  package static let rangeByteCount = 8

  private init(unchecked ranges: [Range<Int>]) { self.ranges = ranges }

  /// Checks runs.
  ///
  /// - Throws: a fault that names `field` if one is empty, overlaps or precedes the one before, or
  ///   reaches beyond `tokenCount`.
  package init(
    _ ranges: [Range<Int>], field: StaticString = "span", tokenCount: Int = tokenMax
  ) throws(FieldFault) {
    var end = 0
    for range in ranges {
      guard range.lowerBound >= end else {
        throw FieldFault(
          "\(field)", value: range.lowerBound, limit: end, "must be ascending and disjoint")
      }
      guard !range.isEmpty else {
        throw FieldFault("\(field)", value: range.upperBound, limit: range.upperBound, "is empty")
      }
      end = range.upperBound
    }
    guard end <= tokenCount else {
      throw FieldFault("\(field)", value: end, limit: tokenCount, "reaches beyond the tokens")
    }
    self.ranges = ranges
  }

  /// The runs of tokens that are given one by one, ascending.
  package init(ofTokens tokens: [Int]) {
    var joined: [Range<Int>] = []
    for token in tokens {
      precondition(token >= joined.last?.upperBound ?? 0, "tokens ascend")
      if let last = joined.last, last.upperBound == token {
        joined[joined.count - 1] = last.lowerBound..<token + 1
      } else {
        joined.append(token..<token + 1)
      }
    }
    ranges = joined
  }

  /// Takes `count` runs; throws a fault that names `field` as `init(_:field:)` does, or if the
  /// bytes end before.
  package init(
    from reader: inout ByteReader, count: Int, field: StaticString = "span"
  ) throws(FieldFault) {
    // Asked first, so that a count alone reserves no memory.
    guard reader.remaining / Self.rangeByteCount >= count else {
      throw FieldFault(
        "\(field)", value: reader.remaining, limit: count, "bytes end before this field")
    }
    var ranges: [Range<Int>] = []
    ranges.reserveCapacity(count)
    for _ in 0..<count {
      let start = Int(try reader.take(field, as: UInt32.self))
      let end = Int(try reader.take(field, as: UInt32.self))
      guard start <= end else {
        throw FieldFault("\(field)", value: start, limit: end, "ends before it starts")
      }
      ranges.append(start..<end)
    }
    try self.init(ranges, field: field)
  }

  /// Appends the runs, without their count.
  package func write(to writer: inout ByteWriter) {
    for range in ranges {
      writer.put(UInt32(range.lowerBound))
      writer.put(UInt32(range.upperBound))
    }
  }

  /// How many runs there are.
  package var count: Int { ranges.count }

  /// How many tokens lie in them.
  package var tokenCount: Int { ranges.reduce(0) { $0 + $1.count } }

  /// The token behind the last one, 0 if there is none.
  package var end: Int { ranges.last?.upperBound ?? 0 }

  /// The tokens that are in either, neighbouring runs joined.
  package func union(_ other: TokenSpans) -> TokenSpans {
    var joined: [Range<Int>] = []
    var (left, right) = (ranges[...], other.ranges[...])
    while let next = Self.popFirst(&left, &right) {
      if let last = joined.last, last.upperBound >= next.lowerBound {
        joined[joined.count - 1] =
          last.lowerBound..<max(last.upperBound, next.upperBound)
      } else {
        joined.append(next)
      }
    }
    return TokenSpans(unchecked: joined)
  }

  /// The first `count` of these tokens, or all if there are fewer.
  package func prefix(_ count: Int) -> TokenSpans {
    var left = count
    var front: [Range<Int>] = []
    for range in ranges where left > 0 {
      let taken = min(left, range.count)
      front.append(range.lowerBound..<range.lowerBound + taken)
      left -= taken
    }
    return TokenSpans(unchecked: front)
  }

  /// The tokens of `0..<tokenCount` that are in none, neighbouring runs joined; `end` must not be
  /// beyond it.
  package func complement(in tokenCount: Int) -> TokenSpans {
    precondition(end <= tokenCount, "the runs are not inside the tokens")
    var others: [Range<Int>] = []
    var start = 0
    for range in ranges {
      if start < range.lowerBound { others.append(start..<range.lowerBound) }
      start = range.upperBound
    }
    if start < tokenCount { others.append(start..<tokenCount) }
    return TokenSpans(unchecked: others)
  }

  /// Whether a token is in both.
  package func intersects(_ other: TokenSpans) -> Bool {
    var (left, right) = (ranges[...], other.ranges[...])
    while let a = left.first, let b = right.first {
      if a.overlaps(b) { return true }
      if a.upperBound <= b.lowerBound { left.removeFirst() } else { right.removeFirst() }
    }
    return false
  }

  private static func popFirst(
    _ left: inout ArraySlice<Range<Int>>, _ right: inout ArraySlice<Range<Int>>
  ) -> Range<Int>? {
    guard let a = left.first else { return right.popFirst() }
    guard let b = right.first else { return left.popFirst() }
    return a.lowerBound <= b.lowerBound ? left.popFirst() : right.popFirst()
  }
}
