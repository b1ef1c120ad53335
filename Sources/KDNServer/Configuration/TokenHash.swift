internal import Crypto
package import KDNCore

/// The SHA-256 of a token; tokens themselves are never kept.
package struct TokenHash: Hashable, Sendable {
  private let bytes: [UInt8]

  /// Hashes a token.
  package init(of token: String) {
    bytes = Array(SHA256.hash(data: Array(token.utf8)))
  }

  /// Reads 64 hexadecimal digits; throws a fault that names `field` if they are not that.
  package init(hexadecimal text: String, field: String) throws(FieldFault) {
    let digits = text.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
    guard digits.count == 64, text.utf8.count == 64 else {
      throw FieldFault(
        field, value: text.utf8.count, limit: 64, "a SHA-256 has 64 hexadecimal digits")
    }
    bytes = (0..<32).map { UInt8(digits[2 * $0] * 16 + digits[2 * $0 + 1]) }
  }

  /// The hash as 64 hexadecimal digits.
  package var hexadecimal: String {
    let digits = Array("0123456789abcdef".utf8)
    return String(
      decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }

  /// Compares in a time that does not depend on where the hashes differ.
  package func matches(_ other: TokenHash) -> Bool {
    var difference: UInt8 = 0
    for index in 0..<32 { difference |= bytes[index] ^ other.bytes[index] }
    return difference == 0
  }
}
