/// Bytes with a meaning in RESP.
enum RESPByte {
  static let carriageReturn = UInt8(ascii: "\r")
  static let lineFeed = UInt8(ascii: "\n")
  static let array = UInt8(ascii: "*")
  static let bulk = UInt8(ascii: "$")
  static let space = UInt8(ascii: " ")

  /// Whether C's `isspace` is true of a byte.
  static func isSpace(_ byte: UInt8) -> Bool { byte == space || (9...13).contains(byte) }

  /// The byte, a small letter as a capital.
  static func uppercased(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) ? byte - 32 : byte
  }

  /// What a hexadecimal digit counts; nil if it is none.
  static func hexadecimalValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}

extension Int64 {
  /// Reads a number the one way that Redis writes it: no plus sign, no leading zeros, no spaces.
  ///
  /// - Returns: nil if `digits` are no such number or beyond the range.
  package init?(respDigits digits: some Collection<UInt8>) {
    var rest = digits[...]
    let isNegative = rest.first == UInt8(ascii: "-")
    if isNegative { rest = rest.dropFirst() }
    guard let first = rest.first else { return nil }
    if first == UInt8(ascii: "0") {
      guard rest.count == 1, !isNegative else { return nil }
    }
    var value: Int64 = 0
    for byte in rest {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let digit = Int64(byte - UInt8(ascii: "0"))
      // Downwards, since the lowest number has no positive counterpart.
      let (sum, carried) = product.subtractingReportingOverflow(digit)
      guard !overflow, !carried else { return nil }
      value = sum
    }
    guard !isNegative else {
      self = value
      return
    }
    guard value != .min else { return nil }
    self = -value
  }
}
