package import KDNCore

extension RecordHeader {
  private static let tag = FormatTag("KDNR")
  private static let checksumOffset = byteCount - 8

  /// Fills `buffer`, which must have `byteCount` bytes; `nonce` is that of the segment.
  @unsafe package func write(to buffer: UnsafeMutableRawBufferPointer, nonce: UInt64) {
    precondition(buffer.count == Self.byteCount, "a record header has 512 bytes")
    precondition(
      facts.byteCount > 0 && storedBytes > 0 && storedBytes <= Self.storedBytesMax,
      "no such length of an object")
    var writer = ByteWriter(capacity: Self.byteCount)
    Self.tag.write(to: &writer)
    writer.put(codec)
    writer.put(incarnation)
    writer.put(sequence)
    writer.put(UInt32(blockIndex))
    writer.put(UInt32(payloadOffset))
    writer.put(UInt64(storedBytes))
    facts.write(to: &writer)
    facts.form?.write(to: &writer)
    writer.putZeros(Self.checksumOffset - writer.count)
    unsafe buffer.copyBytes(from: writer.bytes)
    let checksum = unsafe Self.checksum(UnsafeRawBufferPointer(buffer), nonce: nonce)
    unsafe buffer.storeBytes(
      of: checksum.littleEndian, toByteOffset: Self.checksumOffset, as: UInt64.self)
  }

  /// Reads 512 bytes of a segment with this nonce.
  ///
  /// Whether incarnation and place are those of the segment is for the caller to compare.
  ///
  /// - Throws: a fault that names `length`, `magic`, `version`, `headerChecksum` or the field that
  ///   holds what no writer writes.
  @unsafe package init(
    reading buffer: UnsafeRawBufferPointer, nonce: UInt64
  ) throws(FieldFault) {
    guard buffer.count == Self.byteCount else {
      throw FieldFault("length", value: buffer.count, limit: Self.byteCount, "wrong length")
    }
    unsafe try Self.tag.check(buffer)
    let stored = unsafe UInt64(
      littleEndian: buffer.loadUnaligned(fromByteOffset: Self.checksumOffset, as: UInt64.self))
    // What was computed is not told: it is made with the nonce.
    guard unsafe stored == Self.checksum(buffer, nonce: nonce) else {
      throw FieldFault("headerChecksum", value: stored, limit: 0, "does not match the bytes")
    }
    var reader = unsafe ByteReader(
      Array(buffer), in: FormatTag.byteCount..<Self.checksumOffset)
    let codec: UInt16 = try reader.take("codec")
    incarnation = try reader.take("incarnation")
    sequence = try reader.take("sequence")
    blockIndex = Int(try reader.take("blockIndex", as: UInt32.self))
    payloadOffset = Int(try reader.take("payloadOffset", as: UInt32.self))
    let storedBytes = try reader.takeCount("storedBytes", in: 1...Self.storedBytesMax)
    facts = try ObjectFacts(from: &reader)
    if codec != Self.codecRaw {
      facts.form = try StoredForm(
        codec: codec, byteCount: storedBytes, of: facts.byteCount, from: &reader)
    }
    try reader.takeReserved(count: reader.remaining)
    try check(storedBytes)
  }

  private func check(_ storedBytes: Int) throws(FieldFault) {
    guard blockIndex >= 1 else {
      throw FieldFault("blockIndex", value: blockIndex, limit: 1, "block 0 is the header")
    }
    guard payloadOffset == Self.inlinePayloadOffset || payloadOffset == Self.pagedPayloadOffset
    else {
      throw FieldFault(
        "payloadOffset", value: payloadOffset, limit: Self.pagedPayloadOffset, "no such offset")
    }
    guard storedBytes == self.storedBytes else {
      throw FieldFault(
        "storedBytes", value: storedBytes, limit: facts.byteCount, "differs from byteCount")
    }
  }

  /// XXH3-64 over the header up to the checksum, followed by the nonce: in the place of the
  /// checksum, so that it is one pass over 512 bytes.
  @unsafe private static func checksum(
    _ buffer: UnsafeRawBufferPointer, nonce: UInt64
  ) -> UInt64 {
    unsafe withUnsafeTemporaryAllocation(byteCount: byteCount, alignment: 64) { keyed in
      unsafe keyed.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[..<checksumOffset]))
      unsafe keyed.storeBytes(
        of: nonce.littleEndian, toByteOffset: checksumOffset, as: UInt64.self)
      return unsafe Checksum(of: UnsafeRawBufferPointer(keyed)).value
    }
  }
}

extension StoredForm {
  /// Appends the 48 bytes that a record of this form has beside the facts.
  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(checksum.value)
    writer.put(decodedChecksum.value)
    profile.write(to: &writer)
  }

  /// Whether the number is one of a codec that anybody knows is for the reader of the bytes.
  fileprivate init(
    codec: UInt16, byteCount: Int, of rawByteCount: Int, from reader: inout ByteReader
  ) throws(FieldFault) {
    guard let number = UInt8(exactly: codec) else {
      throw FieldFault("codec", value: Int(codec), limit: Int(UInt8.max), "no such codec")
    }
    guard byteCount < rawByteCount else {
      throw FieldFault(
        "storedBytes", value: byteCount, limit: rawByteCount - 1, "more than the object's bytes")
    }
    self.init(
      codec: number, byteCount: byteCount,
      checksum: Checksum(try reader.take("storedChecksum")),
      decodedChecksum: Checksum(try reader.take("decodedChecksum")),
      profile: try ChunkHash(from: &reader, field: "profile"))
  }
}

extension ObjectFacts {
  private static let namespacePadding = 6

  /// Appends the 296 bytes of the facts to `writer`.
  fileprivate func write(to writer: inout ByteWriter) {
    let name = namespace.text.utf8
    writer.put(UInt16(name.count))
    writer.putZeros(Self.namespacePadding)
    writer.put(contentsOf: name)
    writer.putZeros(NamespaceName.byteCountMax - name.count)
    writer.put(generation)
    key.write(to: &writer)
    parent.write(to: &writer)
    writer.put(UInt64(byteCount))
    writer.put(checksum.value)
    writer.put(UInt64(firstToken))
    writer.put(UInt32(tokenCount))
    writer.putZeros(4)
    writer.put(recomputeMicroseconds)
    writer.put(storedAtMilliseconds)
    writer.put(ttlMilliseconds)
  }

  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    let nameBytes = Int(try reader.take("namespace", as: UInt16.self))
    guard nameBytes <= NamespaceName.byteCountMax else {
      throw FieldFault(
        "namespace", value: nameBytes, limit: NamespaceName.byteCountMax, "too long")
    }
    try reader.takeReserved(count: Self.namespacePadding)
    let name = try reader.takeBytes("namespace", count: nameBytes)
    try reader.takeReserved("namespace", count: NamespaceName.byteCountMax - nameBytes)
    self.init(
      namespace: try NamespaceName(String(decoding: name, as: UTF8.self)),
      generation: try reader.take("generation"),
      key: try ObjectKey(from: &reader),
      parent: try ChunkHash(from: &reader, field: "parent"),
      byteCount: try reader.takeCount("byteCount", in: 1...RecordHeader.storedBytesMax),
      checksum: Checksum(try reader.take("checksum")),
      firstToken: try reader.takeCount("firstToken", in: 0...Int.max),
      tokenCount: Int(try reader.take("tokenCount", as: UInt32.self)),
      storedAtMilliseconds: 0)
    try reader.takeReserved(count: 4)
    recomputeMicroseconds = try reader.take("recomputeMicroseconds")
    storedAtMilliseconds = try reader.take("storedAtMilliseconds")
    ttlMilliseconds = try reader.take("ttlMilliseconds")
    try checkOpaque()
  }

  private func checkOpaque() throws(FieldFault) {
    guard key.kind == .opaque else { return }
    guard tokenCount == 0 else {
      throw FieldFault("tokenCount", value: tokenCount, limit: 0, "opaque objects have none")
    }
    guard parent == .none else {
      throw FieldFault("parent", value: 1, limit: 0, "opaque objects have none")
    }
  }
}
