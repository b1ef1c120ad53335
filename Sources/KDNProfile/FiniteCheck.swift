internal import KDNCore

/// Whether bytes hold only finite numbers of their type.
enum FiniteCheck {
  /// Looks at `count` elements of `type` from byte `start` on.
  static func holds(
    _ bytes: [UInt8], from start: Int, count: Int, _ type: ElementType
  ) -> Bool {
    precondition(start >= 0 && start + count * type.byteCount <= bytes.count)
    // Safe because: the range was checked against the array on the line above.
    return unsafe bytes.withUnsafeBytes { bytes in
      switch type {
      case .bf16: unsafe halves(bytes, start, count, exponent: 0x7F80)
      case .f16: unsafe halves(bytes, start, count, exponent: 0x7C00)
      case .f32: unsafe words(bytes, start, count)
      case .f8e4m3: unsafe bytes[start..<start + count].allSatisfy { $0 & 0x7F != 0x7F }
      case .f8e5m2: unsafe bytes[start..<start + count].allSatisfy { $0 & 0x7C != 0x7C }
      case .i8: true
      }
    }
  }

  private static func halves(
    _ bytes: UnsafeRawBufferPointer, _ start: Int, _ count: Int, exponent: UInt16
  ) -> Bool {
    var isFinite = true
    for index in 0..<count {
      let bits = unsafe bytes.loadUnaligned(fromByteOffset: start + 2 * index, as: UInt16.self)
      isFinite = isFinite && UInt16(littleEndian: bits) & exponent != exponent
    }
    return isFinite
  }

  private static func words(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ count: Int) -> Bool {
    var isFinite = true
    for index in 0..<count {
      let bits = unsafe bytes.loadUnaligned(fromByteOffset: start + 4 * index, as: UInt32.self)
      isFinite = isFinite && UInt32(littleEndian: bits) & 0x7F80_0000 != 0x7F80_0000
    }
    return isFinite
  }
}
