internal import KDNCodec
internal import KDNCore

extension PayloadCodec {
  /// The kind of objects that the codec is for; nil for both.
  var kind: ObjectKey.Kind? {
    guard let codecClass = CodecClass(rawValue: rawValue) else { return nil }
    return codecClass.isForOpaque ? .opaque : .layout
  }

  /// Whether a profile of this kind serves to encode; weights are in every profile.
  func isServed(byProfileOfKind kind: UInt8) -> Bool {
    guard let wanted = CodecClass(rawValue: rawValue)?.profileKind else { return true }
    return wanted.rawValue == kind || wanted == .weights
  }
}
