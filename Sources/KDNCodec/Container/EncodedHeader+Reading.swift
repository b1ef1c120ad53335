internal import KDNCore

extension EncodedHeader {
  /// Bytes of the header that begins `prefix`, of which at least 16 bytes must be there.
  ///
  /// - Throws: `truncated` if there are fewer, a field fault that names `magic`, `version` or
  ///   `headerBytes` if this is no encoded object.
  package static func byteCount(of prefix: RawSpan) throws(CodecFault) -> Int {
    guard prefix.byteCount >= 16 else {
      throw .truncated(needed: 16, have: prefix.byteCount)
    }
    var reader = ByteReader(prefix.extracting(first: 16).copied())
    do throws(FieldFault) {
      guard Array(try reader.takeBytes("magic", count: 4)) == magic else {
        throw FieldFault("magic", value: 0, limit: 0, "not an encoded object")
      }
      let found: UInt16 = try reader.take("version")
      guard found == version else {
        throw FieldFault(
          "version", value: UInt64(found), limit: UInt64(version), "unknown version")
      }
      _ = try reader.takeBytes("class", count: 2)
      let count = Int(try reader.take("headerBytes", as: UInt32.self))
      guard count % 8 == 0, count >= fixedByteCount + BlockEntry.byteCount + 8,
        count <= headerBytesMax
      else {
        throw FieldFault(
          "headerBytes", value: count, limit: headerBytesMax, "no length of a header")
      }
      return count
    } catch {
      throw .field(error)
    }
  }

  /// Reads the header that begins `bytes`; more may follow it.
  ///
  /// - Throws: `truncated` if it is not all there, `checksum`, or a field fault that names the
  ///   field at fault.
  package init(reading bytes: RawSpan) throws(CodecFault) {
    let count = try Self.byteCount(of: bytes)
    guard bytes.byteCount >= count else {
      throw .truncated(needed: count, have: bytes.byteCount)
    }
    let header = bytes.extracting(first: count).copied()
    do throws(FieldFault) {
      try self.init(header)
    } catch {
      throw .field(error)
    }
    var last = ByteReader(header, in: count - 8..<count)
    let told = try CodecFault.wrapping { () throws(FieldFault) in
      try last.take("headerChecksum", as: UInt64.self)
    }
    let found = Checksum(of: header, first: count - 8).value
    guard told == found else { throw .checksum("header", wanted: told, found: found) }
  }

  private init(_ header: [UInt8]) throws(FieldFault) {
    var reader = ByteReader(header)
    _ = try reader.takeBytes("magic", count: 6)
    let rawClass: UInt8 = try reader.take("class")
    guard let codecClass = CodecClass(rawValue: rawClass) else {
      throw FieldFault("class", value: UInt64(rawClass), limit: 17, "no such class")
    }
    try reader.takeReserved(count: 1)
    headerByteCount = header.count
    self.codecClass = codecClass
    _ = try reader.take("headerBytes", as: UInt32.self)
    let blockCount = Int(try reader.take("blockCount", as: UInt32.self))
    guard (1...Self.blockCountMax).contains(blockCount) else {
      throw FieldFault(
        "blockCount", value: blockCount, limit: Self.blockCountMax, "must be 1 to 8192")
    }
    let rawBytes: UInt64 = try reader.take("rawByteCount")
    guard (1...UInt64(Self.objectBytesMax)).contains(rawBytes) else {
      throw FieldFault(
        "rawByteCount", value: rawBytes, limit: UInt64(Self.objectBytesMax), "no object's length")
    }
    rawByteCount = Int(rawBytes)
    rawChecksum = Checksum(try reader.take("rawChecksum"))
    decodedChecksum = Checksum(try reader.take("decodedChecksum"))
    guard codecClass.isLossy || rawChecksum == decodedChecksum else {
      throw FieldFault(
        "decodedChecksum", value: decodedChecksum.value, limit: rawChecksum.value,
        "this class gives the bytes that were stored")
    }
    let facts = try HeaderFacts(from: &reader, codecClass)
    self.facts = facts.facts
    profile = facts.profile
    shape = facts.shape
    guard rawByteCount == facts.shape?.byteCount ?? rawByteCount else {
      throw FieldFault(
        "rawByteCount", value: rawByteCount, limit: facts.shape?.byteCount ?? 0,
        "the layout's bytes are another number")
    }
    frequencies = try Self.frequencies(from: &reader, facts.facts.layout)
    guard reader.remaining == blockCount * BlockEntry.byteCount + 8 else {
      throw FieldFault(
        "headerBytes", value: reader.remaining, limit: blockCount * BlockEntry.byteCount + 8,
        "the index is as long as its blocks say")
    }
    var blocks: [BlockEntry] = []
    blocks.reserveCapacity(blockCount)
    for _ in 0..<blockCount { blocks.append(try BlockEntry(from: &reader)) }
    self.blocks = blocks
    try checkBlocks()
  }

  private static func frequencies(
    from reader: inout ByteReader, _ layout: Layout?
  ) throws(FieldFault) -> [[Double]] {
    var frequencies: [[Double]] = []
    for group in layout?.groups ?? [] {
      var ofGroup: [Double] = []
      if let rope = group.rope, rope.keys == .afterRotation {
        for _ in 0..<rope.rotaryDims / 2 {
          let frequency = try reader.takeDouble("frequency")
          guard frequency.isFinite else {
            throw FieldFault("frequency", value: frequency.bitPattern, limit: 0, "must be finite")
          }
          ofGroup.append(frequency)
        }
      }
      frequencies.append(ofGroup)
    }
    return frequencies
  }
}

/// The middle of the fixed header, and the layout behind it.
private struct HeaderFacts {
  let facts: EncodingFacts
  let shape: PartShape?
  let profile: ProfileHash?

  init(from reader: inout ByteReader, _ codecClass: CodecClass) throws(FieldFault) {
    let id = try LayoutID(from: &reader)
    let part = try Part(from: &reader)
    let firstToken: UInt64 = try reader.take("firstToken")
    let tokenCount: UInt32 = try reader.take("tokenCount")
    let layoutBytes = Int(try reader.take("layoutBytes", as: UInt32.self))
    let hash = try ProfileHash(from: &reader)
    profile = hash == .none ? nil : hash
    guard (profile != nil) == (codecClass.profileKind != nil) else {
      throw FieldFault(
        "profile", value: profile == nil ? 0 : 1, limit: profile == nil ? 1 : 0,
        "classes with a profile name one, the others none")
    }
    guard layoutBytes > 0 else {
      guard codecClass.isForOpaque, id == .none, part == .none, firstToken == 0, tokenCount == 0
      else {
        throw FieldFault(
          "layoutBytes", value: 0, limit: 1, "only opaque objects have no layout, and no tokens")
      }
      facts = .opaque
      shape = nil
      return
    }
    guard !codecClass.isForOpaque else {
      throw FieldFault("layoutBytes", value: layoutBytes, limit: 0, "the class has no layout")
    }
    let encoding = Array(try reader.takeBytes("layout", count: layoutBytes))
    try reader.takeReserved(count: -reader.offset & 7)
    let layout = try Layout(canonicalEncoding: encoding)
    guard LayoutID(ofCanonicalEncoding: encoding) == id else {
      throw FieldFault("layoutID", value: 0, limit: 0, "is not the layout's")
    }
    guard firstToken <= EncodedHeader.positionMax - UInt64(tokenCount) else {
      throw FieldFault(
        "firstToken", value: firstToken, limit: EncodedHeader.positionMax, "too far")
    }
    facts = EncodingFacts(
      layout: layout, part: part, firstToken: firstToken, tokenCount: Int(tokenCount))
    shape = try PartShape(layout: layout, part: part, tokenCount: Int(tokenCount))
  }
}
