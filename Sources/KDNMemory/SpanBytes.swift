/// Bytes taken out of memory, for those who are not trusted with pointers.
extension Lease {
  /// The bytes, copied.
  package func copied() -> [UInt8] {
    unsafe [UInt8](UnsafeRawBufferPointer(start: base, count: byteCount))
  }
}

extension RawSpan {
  /// Whether the first bytes are these.
  package func starts(with bytes: [UInt8]) -> Bool {
    guard byteCount >= bytes.count else { return false }
    return bytes.indices.allSatisfy { index in
      unsafe unsafeLoadUnaligned(fromByteOffset: index, as: UInt8.self) == bytes[index]
    }
  }
}
