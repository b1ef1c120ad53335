internal import KDNControl

/// The parameters behind the question mark of a request target.
struct Query: Sendable {
  private let values: [String: String]

  /// Takes a query apart.
  ///
  /// - Throws: `bad_request` that names the first parameter that is not in `known`, comes twice or
  ///   is not well-formed percent encoding.
  init(_ text: String?, known: [String]) throws(ControlFault) {
    var values: [String: String] = [:]
    for pair in (text ?? "").split(separator: "&") {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let name = Self.decoded(sides[0]), known.contains(name) else {
        throw ControlFault(.badRequest, field: String(sides[0]), "no such parameter")
      }
      guard let value = Self.decoded(sides.count > 1 ? sides[1] : "") else {
        throw ControlFault(.badRequest, field: name, "not well-formed percent encoding")
      }
      guard values.updateValue(value, forKey: name) == nil else {
        throw ControlFault(.badRequest, field: name, "given more than once")
      }
    }
    self.values = values
  }

  /// The value of a parameter; nil if it was not given.
  func text(_ name: String) -> String? { values[name] }

  /// Whether a parameter was given without a value or as `true`.
  ///
  /// - Throws: `bad_request` for another value than `true` and `false`.
  func flag(_ name: String) throws(ControlFault) -> Bool {
    switch values[name] {
    case nil, "false": return false
    case "", "true": return true
    default: throw ControlFault(.badRequest, field: name, "must be true or false")
    }
  }

  /// A whole number; nil if it was not given.
  ///
  /// - Throws: `bad_request` for what is no number in `range`.
  func number<Number: FixedWidthInteger & Sendable>(
    _ name: String, in range: ClosedRange<Number>
  ) throws(ControlFault) -> Number? {
    guard let text = values[name] else { return nil }
    let isPlain = text.utf8.allSatisfy { (0x30...0x39).contains($0) }
    guard isPlain, let number = Number(text), range.contains(number) else {
      let message = "must be a whole number from \(range.lowerBound) to \(range.upperBound)"
      throw ControlFault(.badRequest, field: name, message)
    }
    return number
  }

  private static func decoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      switch byte {
      case UInt8(ascii: "+"): bytes.append(UInt8(ascii: " "))
      case UInt8(ascii: "%"):
        let digits = rest.prefix(2)
        let number = String(decoding: digits, as: UTF8.self)
        guard digits.count == 2, !number.hasPrefix("+"), let value = UInt8(number, radix: 16)
        else { return nil }
        bytes.append(value)
        rest = rest.dropFirst(2)
      default: bytes.append(byte)
      }
    }
    return String(validating: bytes, as: UTF8.self)
  }
}
