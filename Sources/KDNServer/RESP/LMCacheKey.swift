/// A key as LMCache's native client names objects; tells its size class.
///
/// `model@kv_rank@group@hash[@salt]` with 8 hexadecimal digits of `kv_rank`, or the older
/// `model@world@worker@hash@dtype…`. Source: LMCache 0.5.6, `native_connector_l2_adapter.py` and
/// `utils.py`.
struct LMCacheKey: Hashable {
  /// Model, rank and group: objects that share them are of one length in one engine.
  let family: [UInt8]

  private static let separator = UInt8(ascii: "@")

  /// Reads a key; nil if it has another form.
  init?(_ key: [UInt8]) {
    let fields = key.split(
      separator: Self.separator, maxSplits: 5, omittingEmptySubsequences: false)
    guard fields.count >= 4, !fields[0].isEmpty,
      Self.isPresent(fields) || Self.isLegacy(fields)
    else { return nil }
    family = Array(key[..<fields[2].endIndex])
  }

  private static func isPresent(_ fields: [ArraySlice<UInt8>]) -> Bool {
    fields.count <= 5 && fields[1].count == 8 && isHexadecimal(fields[1])
      && fields[2].count <= 8 && isHexadecimal(fields[2]) && isHexadecimal(fields[3])
      && fields[3].count % 2 == 0
  }

  private static func isLegacy(_ fields: [ArraySlice<UInt8>]) -> Bool {
    // Hashes of Python may be negative.
    let hash = fields[3].first == UInt8(ascii: "-") ? fields[3].dropFirst() : fields[3]
    return fields.count >= 5 && isDecimal(fields[1]) && isDecimal(fields[2])
      && isHexadecimal(hash) && !fields[4].isEmpty
  }

  private static func isDecimal(_ bytes: ArraySlice<UInt8>) -> Bool {
    !bytes.isEmpty && bytes.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
  }

  private static func isHexadecimal(_ bytes: ArraySlice<UInt8>) -> Bool {
    !bytes.isEmpty
      && bytes.allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
      }
  }
}
