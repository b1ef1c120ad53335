/// The codecs that a client decodes: bit n stands for codec n.
package struct CodecSet: OptionSet, Hashable, Sendable {
  package let rawValue: UInt32

  package init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The set of some codecs.
  package init(_ codecs: [PayloadCodec]) {
    rawValue = codecs.reduce(0) { $0 | 1 << UInt32($1.rawValue) }
  }

  /// What every client reads.
  package static let raw = CodecSet([.raw])
  /// All codecs that this build knows.
  package static let all = CodecSet(PayloadCodec.allCases)

  /// Whether bytes in `codec` may be sent; raw always may.
  package func accepts(_ codec: PayloadCodec) -> Bool {
    codec == .raw || contains(CodecSet([codec]))
  }

  /// Whether anything but raw may be sent, as far as this build knows.
  package var hasEncoded: Bool {
    !intersection(.all).subtracting(.raw).isEmpty
  }
}
