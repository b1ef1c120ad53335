/// The name of a tenant's own key space.
package struct NamespaceName: Hashable, Sendable, CustomStringConvertible {
  /// 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
  package let text: String

  /// Longest name, in bytes.
  package static let byteCountMax = 128

  /// Checks a name; throws a fault that names `namespace` if it is empty, too long or has other
  /// characters than letters, digits, dot, underscore and hyphen.
  package init(_ text: String) throws(FieldFault) {
    let count = text.utf8.count
    guard (1...Self.byteCountMax).contains(count) else {
      throw FieldFault(
        "namespace", value: count, limit: Self.byteCountMax, "must be 1 to 128 bytes")
    }
    for byte in text.utf8 where !Self.isAllowed(byte) {
      throw FieldFault("namespace", value: UInt64(byte), limit: 0, "character is not allowed")
    }
    self.text = text
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "-"):
      true
    default: false
    }
  }

  package var description: String { text }
}
