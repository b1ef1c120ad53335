internal import ArgumentParser
internal import KDNCore

/// Names that people give in hexadecimal digits.
enum Hexadecimal {
  /// A chunk hash from 64 digits.
  static func chunkHash(_ text: String) throws -> ChunkHash {
    try ChunkHash(bytes(text, count: ChunkHash.byteCount))
  }

  /// A layout id from 32 digits.
  static func layoutID(_ text: String) throws -> LayoutID {
    var reader = ByteReader(try bytes(text, count: 16))
    return try LayoutID(from: &reader)
  }

  private static func bytes(_ text: String, count: Int) throws -> [UInt8] {
    let digits = text.map(\.hexDigitValue)
    guard digits.count == count * 2, text.utf8.count == digits.count else {
      throw ValidationError("'\(text)' is not \(count * 2) hexadecimal digits")
    }
    return try stride(from: 0, to: digits.count, by: 2).map { index in
      guard let high = digits[index], let low = digits[index + 1] else {
        throw ValidationError("'\(text)' is not \(count * 2) hexadecimal digits")
      }
      return UInt8(high << 4 | low)
    }
  }
}
