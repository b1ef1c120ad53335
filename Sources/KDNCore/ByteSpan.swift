extension [UInt8] {
  /// Appends all bytes of `span` at once.
  package mutating func append(copying span: Span<UInt8>) {
    // Safe because: the pointer is used only while the span keeps the bytes alive.
    unsafe span.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
  }

  /// Copies the bytes of `range`, which must be inside the array, to the front of `span`, which
  /// must have room for them.
  package func copy(_ range: Range<Int>, to span: inout MutableSpan<UInt8>) {
    precondition(range.count <= span.count, "no room for the bytes to be copied")
    // Safe because: the slice is checked against the array, and its length against the span.
    unsafe self[range].withUnsafeBufferPointer { source in
      unsafe span.withUnsafeMutableBufferPointer { _ = unsafe $0.update(fromContentsOf: source) }
    }
  }
}
