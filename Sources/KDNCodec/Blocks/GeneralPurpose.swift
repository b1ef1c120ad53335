internal import CLZ4
internal import CZstd
internal import KDNCore

/// Compressors that know nothing of what they compress: for opaque bytes.
enum GeneralPurpose {
  /// Longest input of LZ4, in bytes.
  private static let lz4BytesMax = 0x7E00_0000

  /// One zstd frame of `raw` that carries its content size; nil if it is not shorter.
  static func zstd(_ raw: UnsafeRawBufferPointer, level: Int) -> [UInt8]? {
    guard raw.count > 1 else { return nil }
    let room = raw.count - 1
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: room) { target, filled in
      let count = unsafe ZSTD_compress(
        target.baseAddress, room, raw.baseAddress, raw.count, Int32(level))
      filled = ZSTD_isError(count) == 0 ? count : 0
    }
    return bytes.isEmpty ? nil : bytes
  }

  /// One LZ4 block of `raw`; nil if it is not shorter.
  static func lz4(_ raw: UnsafeRawBufferPointer) -> [UInt8]? {
    guard (2...lz4BytesMax).contains(raw.count) else { return nil }
    let room = raw.count - 1
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: room) { target, filled in
      let count = unsafe LZ4_compress_default(
        UnsafeRawPointer(raw.baseAddress)?.assumingMemoryBound(to: CChar.self),
        UnsafeMutableRawPointer(target.baseAddress)?.assumingMemoryBound(to: CChar.self),
        Int32(raw.count), Int32(room))
      filled = max(0, Int(count))
    }
    return bytes.isEmpty ? nil : bytes
  }

  /// Decompresses a frame that must give exactly as many bytes as `room` has.
  ///
  /// - Throws: a fault that names `zstd`.
  static func unzstd(
    _ encoded: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer
  ) throws(FieldFault) {
    let told = unsafe ZSTD_getFrameContentSize(encoded.baseAddress, encoded.count)
    guard told == UInt64(room.count) else {
      throw FieldFault(
        "zstd", value: told, limit: UInt64(room.count), "the frame holds another length")
    }
    let frame = unsafe ZSTD_findFrameCompressedSize(encoded.baseAddress, encoded.count)
    guard frame == encoded.count else {
      throw FieldFault(
        "zstd", value: frame, limit: encoded.count, "not one whole frame")
    }
    let count = unsafe ZSTD_decompress(
      room.baseAddress, room.count, encoded.baseAddress, encoded.count)
    guard count == room.count else {
      throw FieldFault(
        "zstd", value: count, limit: room.count, "cannot be decompressed")
    }
  }

  /// Decompresses a block that must give exactly as many bytes as `room` has.
  ///
  /// - Throws: a fault that names `lz4`.
  static func unlz4(
    _ encoded: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer
  ) throws(FieldFault) {
    guard room.count <= lz4BytesMax, encoded.count <= lz4BytesMax else {
      throw FieldFault("lz4", value: room.count, limit: lz4BytesMax, "too long")
    }
    let count = unsafe LZ4_decompress_safe(
      UnsafeRawPointer(encoded.baseAddress)?.assumingMemoryBound(to: CChar.self),
      UnsafeMutableRawPointer(room.baseAddress)?.assumingMemoryBound(to: CChar.self),
      Int32(encoded.count), Int32(room.count))
    guard Int(count) == room.count else {
      throw FieldFault(
        "lz4", value: Int(count), limit: room.count, "cannot be decompressed")
    }
  }
}
