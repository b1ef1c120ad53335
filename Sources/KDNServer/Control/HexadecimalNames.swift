internal import KDNControl
internal import KDNCore

/// Names of objects as an administrator writes them.
enum HexadecimalNames {
  /// Reads chunk hashes or opaque names of 64 digits; one name, one entry, in the order given.
  ///
  /// - Throws: `bad_request` that names the entry at fault, or `field` if there are none or more
  ///   than `countMax`.
  static func hashes(
    _ texts: [String], field: String, countMax: Int
  ) throws(ControlFault) -> [ChunkHash] {
    try names(texts, field: field, countMax: countMax, byteCount: ChunkHash.byteCount) {
      bytes throws(FieldFault) in try ChunkHash(bytes)
    }
  }

  /// Reads layout ids of 32 digits.
  ///
  /// - Throws: as `hashes` does.
  static func layouts(
    _ texts: [String], field: String, countMax: Int
  ) throws(ControlFault) -> [LayoutID] {
    try names(texts, field: field, countMax: countMax, byteCount: layoutByteCount) {
      bytes throws(FieldFault) in
      var reader = ByteReader(bytes)
      return try LayoutID(from: &reader)
    }
  }

  private static let layoutByteCount = 16

  private static func names<Name: Hashable>(
    _ texts: [String], field: String, countMax: Int, byteCount: Int,
    _ make: ([UInt8]) throws(FieldFault) -> Name
  ) throws(ControlFault) -> [Name] {
    guard (1...countMax).contains(texts.count) else {
      throw ControlFault(
        .badRequest, field: field, "1 to \(countMax) names belong here, not \(texts.count)")
    }
    var known: Set<Name> = []
    var names: [Name] = []
    for (index, text) in texts.enumerated() {
      let entry = "\(field)[\(index)]"
      guard let bytes = Self.bytes(text, count: byteCount) else {
        throw ControlFault(
          .badRequest, field: entry,
          "\(2 * byteCount) hexadecimal digits belong here, not \(text.utf8.count) bytes of text")
      }
      do {
        let name = try make(bytes)
        if known.insert(name).inserted { names.append(name) }
      } catch {
        throw ControlFault(.badRequest, field: entry, error.problem)
      }
    }
    return names
  }

  private static func bytes(_ text: String, count: Int) -> [UInt8]? {
    guard text.utf8.count == 2 * count else { return nil }
    var bytes: [UInt8] = []
    var high: UInt8?
    for digit in text.utf8 {
      guard let value = value(of: digit) else { return nil }
      if let first = high {
        bytes.append(first << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    return bytes
  }

  private static func value(of digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
