package import KDNCore
package import KDNTier

extension CodecSet {
  /// Whether bytes of this form are taken; nil is raw, which everybody takes.
  package func contains(_ form: StoredForm?) -> Bool {
    guard let form else { return true }
    return rawValue & Self.bit(of: form.codec) != 0
  }

  /// The bit of a codec; none for numbers that a mask has no bit for.
  static func bit(of codec: UInt8) -> UInt32 { codec < 32 ? 1 << UInt32(codec) : 0 }
}

/// What codecs are called in statistics, those that this build does not know too.
enum CodecNames {
  static func name(of codec: UInt8) -> String {
    PayloadCodec(rawValue: codec)?.name ?? "codec-\(codec)"
  }
}
