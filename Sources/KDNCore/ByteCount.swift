/// A number of bytes, written by people with a unit: `64MiB`, `1GiB`, `4096`.
package struct ByteCount: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The number of bytes, never negative.
  package let bytes: Int

  /// Wraps a number of bytes, which must not be negative.
  package init(_ bytes: Int) {
    precondition(bytes >= 0, "a byte count is never negative")
    self.bytes = bytes
  }

  private static let units: [(suffix: String, bytes: Int)] = [
    ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000), ("B", 1),
  ]

  /// Reads a whole number with an optional unit (`B kB MB GB TB KiB MiB GiB TiB`).
  ///
  /// - Throws: a fault that names `field` if `text` is no such number or is beyond 2^62.
  package init(parsing text: String, field: String) throws(FieldFault) {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let suffix = text.dropFirst(digits.count).drop { $0 == " " }
    guard let number = Int(digits) else {
      throw FieldFault(
        field, value: text.utf8.count, limit: 0, "'\(text)' is not a size such as 64MiB")
    }
    guard let unit = suffix.isEmpty ? 1 : Self.units.first(where: { $0.suffix == suffix })?.bytes
    else {
      throw FieldFault(
        field, value: text.utf8.count, limit: 0,
        "'\(suffix)' is not a unit; use B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")
    }
    let (product, overflow) = number.multipliedReportingOverflow(by: unit)
    guard !overflow, product <= 1 << 62 else {
      throw FieldFault(field, value: UInt64(number), limit: 1 << 62, "too many bytes")
    }
    bytes = product
  }

  package static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }

  /// The number with the largest binary unit that divides it.
  package var description: String {
    for unit in Self.units.prefix(4) where bytes >= unit.bytes && bytes % unit.bytes == 0 {
      return "\(bytes / unit.bytes)\(unit.suffix)"
    }
    return "\(bytes)"
  }
}
