/// One change of a document's KV: which tokens, what is done to them, how strongly.
///
/// The base is never changed: an operation is kept beside it and applied where KV is assembled.
package enum EditOperation: Hashable, Sendable {
  /// Multiplies the keys of these tokens: above 1 steers attention to them, below 1 away.
  case scaleKeys(Float, TokenSpans)
  /// Multiplies the values of these tokens.
  case scaleValues(Float, TokenSpans)
  /// Leaves these tokens out; positions are not renumbered.
  case drop(TokenSpans)
  /// Keeps this many thousandths of the tokens, those with the highest of the scores, one a token.
  case keep(permille: Int, scores: [Float])
  /// Delivers the whole document as if it were kept in this class, after all strengths; of several
  /// the smallest counts.
  case requantise(PayloadCodec)

  /// The classes that `requantise` names: those that lose something.
  package static let classes: [PayloadCodec] = [.high, .balanced, .small, .archive]
  /// Most spans of an operation that a client asks for.
  package static let spansMax = 256
  /// Most spans of an operation that is kept: what `keep` comes to may have more than were asked.
  package static let keptSpansMax = 1024
  /// Most scores of `keep`: they fit a body of the default length.
  package static let scoresMax = 1 << 17
  /// Strengths of keys.
  ///
  /// Near zero or below it attention to other tokens breaks down: measured on a model of 135M, the
  /// divergence of an unrelated text is .19 nats at 0 and 7 at -1.
  package static let keyStrengths: ClosedRange<Float> = 0.25...4
  /// Strengths of values.
  package static let valueStrengths: ClosedRange<Float> = -4...4
  /// Most operations that a document has at a time.
  package static let countMax = 64
  /// Bytes in front of spans or scores in the encoding.
  package static let fixedByteCount = 12

  private enum Kind: UInt8 {
    case scaleKeys = 1
    case scaleValues = 2
    case drop = 3
    case keep = 4
    case requantise = 5
  }

  /// Takes an operation: u8 kind; u8 class, 0 but for `requantise`; u16 permille; f32 strength;
  /// u32 count; then `count` spans, or scores for `keep`.
  ///
  /// - Throws: a fault that names `kind`, `class`, `permille`, `strength`, `spanCount`, `span`,
  ///   `scoreCount` or `score`.
  package init(
    from reader: inout ByteReader, spansMax: Int = spansMax
  ) throws(FieldFault) {
    let number: UInt8 = try reader.take("kind")
    guard let kind = Kind(rawValue: number) else {
      throw FieldFault("kind", value: UInt64(number), limit: 5, "unknown operation")
    }
    let codec: UInt8 = try reader.take("class")
    let permille = Int(try reader.take("permille", as: UInt16.self))
    let strength = Float(bitPattern: try reader.take("strength"))
    let count: UInt32 = try reader.take("spanCount")
    let (isScaled, isScored) = (kind == .scaleKeys || kind == .scaleValues, kind == .keep)
    guard isScaled || strength.bitPattern == 0 else {
      throw FieldFault(
        "strength", value: UInt64(strength.bitPattern), limit: 0, "must be zero for this kind")
    }
    guard isScored || permille == 0 else {
      throw FieldFault("permille", value: permille, limit: 0, "must be zero for this kind")
    }
    guard kind == .requantise || codec == 0 else {
      throw FieldFault("class", value: UInt64(codec), limit: 0, "must be zero for this kind")
    }
    if kind == .requantise {
      guard count == 0 else {
        throw FieldFault("spanCount", value: UInt64(count), limit: 0, "it is the whole document")
      }
      self = .requantise(try Self.codec(codec))
    } else if isScored {
      self = .keep(permille: permille, scores: try Self.scores(count, from: &reader))
    } else {
      guard count <= spansMax else {
        throw FieldFault("spanCount", value: UInt64(count), limit: UInt64(spansMax), "too many")
      }
      let spans = try TokenSpans(from: &reader, count: Int(count))
      switch kind {
      case .scaleKeys: self = .scaleKeys(strength, spans)
      case .scaleValues: self = .scaleValues(strength, spans)
      case .drop, .keep, .requantise: self = .drop(spans)
      }
    }
    try check(spansMax: spansMax)
  }

  private static func codec(_ number: UInt8) throws(FieldFault) -> PayloadCodec {
    guard let codec = classes.first(where: { $0.rawValue == number }) else {
      throw FieldFault(
        "class", value: UInt64(number), limit: UInt64(PayloadCodec.archive.rawValue),
        "must be high, balanced, small or archive")
    }
    return codec
  }

  private static func scores(
    _ count: UInt32, from reader: inout ByteReader
  ) throws(FieldFault) -> [Float] {
    guard count <= scoresMax, reader.remaining / 4 >= count else {
      throw FieldFault(
        "scoreCount", value: Int(count), limit: min(scoresMax, reader.remaining / 4), "too many")
    }
    var scores: [Float] = []
    scores.reserveCapacity(Int(count))
    for _ in 0..<count { scores.append(Float(bitPattern: try reader.take("score"))) }
    return scores
  }

  /// Appends the operation.
  package func write(to writer: inout ByteWriter) {
    switch self {
    case .scaleKeys(let strength, let spans): put(.scaleKeys, strength, spans, to: &writer)
    case .scaleValues(let strength, let spans): put(.scaleValues, strength, spans, to: &writer)
    case .drop(let spans): put(.drop, 0, spans, to: &writer)
    case .keep(let permille, let scores):
      writer.put(Kind.keep.rawValue)
      writer.put(UInt8(0))
      writer.put(UInt16(permille))
      writer.put(UInt32(0))
      writer.put(UInt32(scores.count))
      for score in scores { writer.put(score.bitPattern) }
    case .requantise(let codec):
      writer.put(Kind.requantise.rawValue)
      writer.put(codec.rawValue)
      writer.putZeros(10)
    }
  }

  private func put(
    _ kind: Kind, _ strength: Float, _ spans: TokenSpans, to writer: inout ByteWriter
  ) {
    writer.put(kind.rawValue)
    writer.putZeros(3)
    writer.put(strength.bitPattern)
    writer.put(UInt32(spans.count))
    spans.write(to: &writer)
  }

  /// Checks what a decoder or a caller put together, against a document of `tokenCount` tokens if
  /// that is known.
  ///
  /// - Throws: a fault that names `strength`, `spanCount`, `span`, `permille`, `scoreCount`,
  ///   `score` or `class`.
  package func check(
    spansMax: Int = spansMax, tokenCount: Int? = nil
  ) throws(FieldFault) {
    switch self {
    case .scaleKeys(let strength, let spans):
      try Self.check(strength, Self.keyStrengths, "must be 0.25 to 4")
      try Self.check(spans, spansMax, tokenCount)
    case .scaleValues(let strength, let spans):
      try Self.check(strength, Self.valueStrengths, "must be -4 to 4")
      try Self.check(spans, spansMax, tokenCount)
    case .drop(let spans): try Self.check(spans, spansMax, tokenCount)
    case .requantise(let codec): _ = try Self.codec(codec.rawValue)
    case .keep(let permille, let scores):
      guard (1...1000).contains(permille) else {
        throw FieldFault("permille", value: permille, limit: 1000, "must be 1 to 1000")
      }
      guard (1...Self.scoresMax).contains(scores.count), scores.count == tokenCount ?? scores.count
      else {
        throw FieldFault(
          "scoreCount", value: scores.count, limit: tokenCount ?? Self.scoresMax,
          "must be one for each token")
      }
      for score in scores where !score.isFinite {
        throw FieldFault("score", value: UInt64(score.bitPattern), limit: 0, "must be finite")
      }
    }
  }

  private static func check(
    _ strength: Float, _ allowed: ClosedRange<Float>, _ problem: String
  ) throws(FieldFault) {
    guard allowed.contains(strength) else {
      throw FieldFault(
        "strength", value: UInt64(strength.bitPattern),
        limit: UInt64(allowed.upperBound.bitPattern), problem)
    }
  }

  private static func check(
    _ spans: TokenSpans, _ spansMax: Int, _ tokenCount: Int?
  ) throws(FieldFault) {
    guard (1...spansMax).contains(spans.count) else {
      throw FieldFault("spanCount", value: spans.count, limit: spansMax, "too few or too many")
    }
    if let tokenCount, spans.end > tokenCount {
      throw FieldFault("span", value: spans.end, limit: tokenCount, "reaches beyond the tokens")
    }
  }
}
