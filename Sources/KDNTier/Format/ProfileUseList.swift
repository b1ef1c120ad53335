package import KDNCore

/// Which profile objects of which namespace are encoded with, as it is kept on disk.
package struct ProfileUse: Hashable, Sendable {
  /// The namespace.
  package let namespace: NamespaceName
  /// SHA-256 of the profile's bytes.
  package let hash: ChunkHash

  /// Puts the facts together.
  package init(namespace: NamespaceName, hash: ChunkHash) {
    self.namespace = namespace
    self.hash = hash
  }
}

/// All uses of one daemon: 24 bytes of header, entries, XXH3-64 of all before it, zeros.
///
/// Header: `KDNU`, u16 version, u16 0, u32 byteCount up to the zeros, u32 count, u64 serial. Entry:
/// u16 length of the namespace's name, the name, 32 bytes of the profile's hash. All integers are
/// little-endian.
package struct ProfileUseList: Equatable, Sendable {
  /// Grows with each list that is written: of several copies the newest counts.
  package var serial: UInt64
  /// In any order.
  package var uses: [ProfileUse]

  /// Most uses that are kept.
  package static let countMax = 1024
  /// Longest name of a namespace.
  private static let nameBytesMax = 128
  private static let headerBytes = 24
  private static let checksumBytes = 8
  private static let magic = Array("KDNU".utf8)
  private static let version: UInt16 = 1
  /// Longest list.
  package static let bytesMax =
    headerBytes + countMax * (2 + nameBytesMax + ChunkHash.byteCount) + checksumBytes

  /// Puts a list together; traps if there are more than `countMax` uses.
  package init(serial: UInt64, uses: [ProfileUse]) {
    precondition(uses.count <= Self.countMax, "more uses than are kept")
    self.serial = serial
    self.uses = uses
  }

  /// The list in bytes.
  package var bytes: [UInt8] {
    var entries = ByteWriter()
    for use in uses {
      entries.put(use.namespace.text)
      entries.put(contentsOf: use.hash.bytes)
    }
    var writer = ByteWriter()
    writer.put(contentsOf: Self.magic)
    writer.put(Self.version)
    writer.put(UInt16(0))
    writer.put(UInt32(Self.headerBytes + entries.count + Self.checksumBytes))
    writer.put(UInt32(uses.count))
    writer.put(serial)
    writer.put(contentsOf: entries.bytes)
    writer.put(Checksum(of: writer.bytes).value)
    return writer.bytes
  }

  /// Reads a list, behind which may be zeros.
  ///
  /// - Throws: a fault that names the field that is wrong.
  package init(reading bytes: [UInt8]) throws(FieldFault) {
    let least = Self.headerBytes + Self.checksumBytes
    guard bytes.count >= least else {
      throw FieldFault("uses.length", value: bytes.count, limit: least, "too short for a list")
    }
    guard bytes.starts(with: Self.magic) else {
      throw FieldFault("uses.magic", value: 0, limit: 0, "does not begin with KDNU")
    }
    var reader = ByteReader(bytes)
    _ = try reader.takeBytes("uses.magic", count: Self.magic.count)
    let version: UInt16 = try reader.take("uses.version")
    guard version == Self.version else {
      throw FieldFault(
        "uses.version", value: UInt64(version), limit: UInt64(Self.version), "unknown version")
    }
    try reader.takeReserved("uses.reserved", count: 2)
    let byteCount = Int(try reader.take("uses.byteCount") as UInt32)
    guard byteCount >= least, byteCount <= min(Self.bytesMax, bytes.count) else {
      throw FieldFault(
        "uses.byteCount", value: byteCount, limit: min(Self.bytesMax, bytes.count),
        "is not its length")
    }
    guard bytes[byteCount...].allSatisfy({ $0 == 0 }) else {
      throw FieldFault("uses.padding", value: 1, limit: 0, "must be zero")
    }
    let content = Array(bytes[..<(byteCount - Self.checksumBytes)])
    var tail = ByteReader(Array(bytes[(byteCount - Self.checksumBytes)..<byteCount]))
    let stored: UInt64 = try tail.take("uses.checksum")
    let computed = Checksum(of: content).value
    guard stored == computed else {
      throw FieldFault(
        "uses.checksum", value: stored, limit: computed, "does not match the bytes")
    }
    try self.init(readingContent: content)
  }

  /// Reads what the checksum has shown to be what was written.
  private init(readingContent content: [UInt8]) throws(FieldFault) {
    var reader = ByteReader(content)
    _ = try reader.takeBytes("uses.header", count: 12)
    let count: UInt32 = try reader.take("uses.count")
    guard count <= Self.countMax else {
      throw FieldFault(
        "uses.count", value: UInt64(count), limit: UInt64(Self.countMax), "too many")
    }
    serial = try reader.take("uses.serial")
    uses = []
    for _ in 0..<count {
      let text = try reader.takeString("uses.namespace", limit: Self.nameBytesMax)
      let name = try NamespaceName(text)
      let hash = try ChunkHash(Array(reader.takeBytes("uses.hash", count: ChunkHash.byteCount)))
      uses.append(ProfileUse(namespace: name, hash: hash))
    }
    try reader.finish("uses.length")
  }
}
