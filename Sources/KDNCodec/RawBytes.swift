internal import KDNCore

extension RawSpan {
  /// A copy of the bytes.
  func copied() -> [UInt8] {
    // Safe because: the pointer is used only while the span keeps the bytes alive.
    unsafe withUnsafeBytes { unsafe Array($0) }
  }

  /// The checksum of the bytes.
  func checksum() -> Checksum {
    // Safe because: the pointer is used only while the span keeps the bytes alive.
    unsafe withUnsafeBytes { unsafe Checksum(of: $0) }
  }
}

extension Array where Element: BitwiseCopyable {
  /// `count` elements of any value, for a kernel to fill all that is used of them.
  static func unfilled(_ count: Int) -> [Element] {
    // Safe because: elements have no invalid bits, and none is read before a kernel wrote it.
    unsafe [Element](unsafeUninitializedCapacity: count) { _, filled in filled = count }
  }
}
