internal import KDNCore

/// What every structure on disk begins with, in places that never change: four characters that
/// say what it is, and the version of its form.
struct FormatTag {
  /// Four characters of ASCII.
  let magic: StaticString
  /// The magic as a little-endian number.
  let number: UInt32
  /// The only version that is read and written.
  let version: UInt16
  /// What the version's field is called.
  let versionField: StaticString

  /// Magic and version, the start of every structure.
  static let byteCount = 6

  init(_ magic: StaticString, version: UInt16 = 1, versionField: StaticString = "version") {
    precondition(magic.utf8CodeUnitCount == 4, "a magic has four characters")
    self.magic = magic
    number = "\(magic)".utf8.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    self.version = version
    self.versionField = versionField
  }

  func write(to writer: inout ByteWriter) {
    writer.put(number)
    writer.put(version)
  }

  /// Looks at the first bytes of `bytes`, which must have at least 6.
  ///
  /// - Throws: a fault that names `magic` or the version's field.
  @unsafe func check(_ bytes: UnsafeRawBufferPointer) throws(FieldFault) {
    let found = unsafe UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self))
    guard found == number else {
      throw FieldFault("magic", value: UInt64(found), limit: UInt64(number), "not \(magic)")
    }
    let newest = unsafe UInt16(
      littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self))
    guard newest == version else {
      throw FieldFault(
        "\(versionField)", value: UInt64(newest), limit: UInt64(version), "unknown version")
    }
  }
}
