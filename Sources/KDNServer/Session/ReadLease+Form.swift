internal import KDNCore
internal import KDNPool
internal import KDNWire

/// What the wire tells of bytes that the pool found.
extension ReadLease {
  /// How the bytes are encoded.
  var codec: PayloadCodec {
    guard let form else { return .raw }
    guard let codec = PayloadCodec(rawValue: form.codec) else {
      preconditionFailure("the pool gives no form that was not accepted")
    }
    return codec
  }

  /// Of the whole object when it is not encoded: of what was stored or, where these bytes were
  /// decoded, of what decoding gave.
  var rawChecksum: Checksum { form == nil ? checksum : object.checksum }

  /// Whether these bytes are, or decode to, the very ones that were stored.
  var isExact: Bool { (form?.decodedChecksum ?? checksum) == object.checksum }
}

extension CodecSet {
  /// Those that this build can name: what the pool may give.
  var known: CodecSet { intersection(.all) }

  /// The codecs that lose something.
  static let lossy = CodecSet(PayloadCodec.allCases.filter(\.isLossy))
}

extension GetRequest {
  /// The forms in which its items are taken from the pool: selected bytes only raw; and lossy ones
  /// to be refused, if exact ones are asked for, since nobody should decode them before.
  var forms: CodecSet {
    let areWhole = items.allSatisfy { $0.selection == .whole }
    let codecs = areWhole ? acceptedCodecs : .raw
    return (flags.contains(.exact) ? codecs.union(.lossy) : codecs).known
  }
}
