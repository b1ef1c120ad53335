/// The text that each token of a document stands for: what finds the tokens of a phrase where there
/// is no tokenizer.
///
/// Whoever learns a document stores it beside the KV, as an opaque object. A token may stand for no
/// bytes at all, and may end within a character, as those of byte-level tokenizers do.
package struct TokenTexts: Hashable, Sendable {
  /// Most tokens: as many as a document has.
  package static let tokensMax = 1 << 20
  /// Most bytes of the text.
  package static let textBytesMax = 16 << 20
  /// Bytes in front of the tokens' ends.
  package static let fixedByteCount = 16
  /// Most bytes of the encoding.
  package static let byteCountMax = fixedByteCount + 4 * tokensMax + textBytesMax
  private static let magic = Array("KDNX".utf8)
  private static let version: UInt16 = 1

  /// The offset behind each token's last byte; never falls, and the last is the text's length.
  package let ends: [Int]
  /// The text: UTF-8, but for what tokens at its edges break off.
  package let text: [UInt8]

  /// Checks tokens and text.
  ///
  /// - Throws: a fault that names `tokenCount`, `textBytes` or `end`.
  package init(ends: [Int], text: [UInt8]) throws(FieldFault) {
    try Self.check(tokens: ends.count, textBytes: text.count)
    var previous = 0
    for end in ends {
      guard end >= previous else {
        throw FieldFault("end", value: end, limit: previous, "must not be before the one before")
      }
      previous = end
    }
    guard previous == text.count else {
      throw FieldFault("end", value: previous, limit: text.count, "the last must be the length")
    }
    self.ends = ends
    self.text = text
  }

  /// Reads a whole object: `KDNX`; u16 version 1; u16 0; u32 tokens; u32 bytes of the text; a u32
  /// end for each token; the text.
  ///
  /// - Throws: a fault that names `magic`, `version`, `reserved`, `tokenCount`, `textBytes`, `end`
  ///   or `length`.
  package init(decoding bytes: [UInt8]) throws(FieldFault) {
    var reader = ByteReader(bytes)
    guard try Array(reader.takeBytes("magic", count: 4)) == Self.magic else {
      throw FieldFault("magic", value: 0, limit: 0, "not the texts of tokens")
    }
    let version: UInt16 = try reader.take("version")
    guard version == Self.version else {
      throw FieldFault("version", value: Int(version), limit: Int(Self.version), "not known")
    }
    try reader.takeReserved(count: 2)
    let tokens = Int(try reader.take("tokenCount", as: UInt32.self))
    let textBytes = Int(try reader.take("textBytes", as: UInt32.self))
    try Self.check(tokens: tokens, textBytes: textBytes)
    // Asked first, so that a count alone reserves no memory.
    guard reader.remaining == 4 * tokens + textBytes else {
      throw FieldFault(
        "length", value: reader.remaining, limit: 4 * tokens + textBytes,
        "must be what both counts say")
    }
    var ends: [Int] = []
    ends.reserveCapacity(tokens)
    for _ in 0..<tokens { ends.append(Int(try reader.take("end", as: UInt32.self))) }
    try self.init(ends: ends, text: Array(reader.takeBytes("text", count: textBytes)))
  }

  /// The object's bytes.
  package var encoding: [UInt8] {
    var writer = ByteWriter(capacity: Self.fixedByteCount + 4 * ends.count + text.count)
    writer.put(contentsOf: Self.magic)
    writer.put(Self.version)
    writer.putZeros(2)
    writer.put(UInt32(ends.count))
    writer.put(UInt32(text.count))
    for end in ends { writer.put(UInt32(end)) }
    writer.put(contentsOf: text)
    return writer.bytes
  }

  /// The object's name, from the last chunk of the document: its hash stands for all tokens, the
  /// model and the salt.
  package static func key(lastChunk: ChunkHash) -> ObjectKey {
    ObjectKey(opaque: HashChain.opaque(Array("kdn/1/document-texts/".utf8) + lastChunk.bytes))
  }

  private static func check(tokens: Int, textBytes: Int) throws(FieldFault) {
    guard (1...tokensMax).contains(tokens) else {
      throw FieldFault("tokenCount", value: tokens, limit: tokensMax, "none, or too many")
    }
    guard textBytes <= textBytesMax else {
      throw FieldFault("textBytes", value: textBytes, limit: textBytesMax, "too long")
    }
  }
}
