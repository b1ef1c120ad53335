internal import KDNCore

/// Decodes an encoded object, whole or by layers; pure, for any thread.
package struct Decoder: Sendable {
  /// The header of the object.
  package let header: EncodedHeader
  private let context: BlockContext

  /// Prepares to decode the object of `header`.
  ///
  /// - Throws: `missingProfile`, `wrongProfile`, or a field fault that names `layoutID` or
  ///   `frequency`.
  package init(_ header: EncodedHeader, profile: Profile? = nil) throws(CodecFault) {
    self.header = header
    let wanted = header.isLossy ? header.profile : nil
    if let wanted {
      guard let profile else { throw .missingProfile(wanted) }
      guard profile.hash == wanted else {
        throw .wrongProfile(wanted: wanted, given: profile.hash)
      }
      guard profile.layout == header.facts.layout else {
        throw .field("layoutID", 0, limit: 0, "the profile is of another layout")
      }
    }
    var groups: Set<Int> = []
    for block in header.blocks where block.kind.isLossy {
      for plane in header.planes(of: block) ?? [] where plane.rotation != nil {
        groups.insert(plane.groupIndex)
      }
    }
    context = try CodecFault.wrapping { () throws(FieldFault) in
      try BlockContext(
        header.facts, header.shape, profile: wanted == nil ? nil : profile,
        frequencies: header.frequencies, rotatedGroups: groups)
    }
  }

  /// Decodes all of `encoded` into `raw`, which has the object's length.
  ///
  /// - Throws: `truncated`, `checksum`, or a field fault; `raw` then holds nothing of use.
  package func decode(
    _ encoded: RawSpan, into raw: inout MutableRawSpan
  ) throws(CodecFault) {
    guard encoded.byteCount >= header.byteCount else {
      throw .truncated(needed: header.byteCount, have: encoded.byteCount)
    }
    guard encoded.byteCount == header.byteCount else {
      throw .field(
        "byteCount", encoded.byteCount, limit: header.byteCount, "bytes behind the last block")
    }
    try checkPadding(encoded)
    // Blocks of single layers come in the order of the object's bytes, which are in the cache then.
    let isInOrder = header.blocks.allSatisfy { $0.layerCount == 1 }
    var whole = StreamingChecksum()
    unsafe try decodeLayers(0..<header.layerCount, of: encoded, at: 0, into: &raw) { decoded in
      if isInOrder { unsafe whole.update(decoded) }
    }
    let found = isInOrder ? whole.digest() : raw.bytes.checksum()
    guard found == header.decodedChecksum else {
      throw .checksum("decoded", wanted: header.decodedChecksum.value, found: found.value)
    }
  }

  /// Throws a field fault unless the bytes between blocks are zero.
  private func checkPadding(_ encoded: RawSpan) throws(CodecFault) {
    // Safe because: blocks lie inside the object, all of which is there.
    try unsafe encoded.withUnsafeBytes { encoded throws(CodecFault) in
      for (block, next) in zip(header.blocks, header.blocks.dropFirst()) {
        for offset in block.range.upperBound..<next.offset {
          let byte = unsafe encoded[offset]
          guard byte == 0 else { throw .field("padding", Int(byte), limit: 0, "must be zero") }
        }
      }
    }
  }

  /// Decodes the layers of `layers`, indices among the part's layers, into `room`, which has as
  /// many bytes as `header.rawRange(layers:)`.
  ///
  /// `encoded` is any window of the object that begins at its byte `offset` and holds
  /// `header.encodedRange(layers:)`.
  ///
  /// - Throws: `truncated`, `checksum`, or a field fault; `room` then holds nothing of use.
  package func decodeLayers(
    _ layers: Range<Int>, of encoded: RawSpan, at offset: Int, into room: inout MutableRawSpan
  ) throws(CodecFault) {
    unsafe try decodeLayers(layers, of: encoded, at: offset, into: &room) { _ in }
  }

  /// The same; gives `body` the planes of each block when they are decoded and good.
  private func decodeLayers(
    _ layers: Range<Int>, of encoded: RawSpan, at offset: Int, into room: inout MutableRawSpan,
    _ body: (UnsafeRawBufferPointer) -> Void
  ) throws(CodecFault) {
    guard !layers.isEmpty, layers.lowerBound >= 0, layers.upperBound <= header.layerCount else {
      throw .field("layerCount", layers.upperBound, limit: header.layerCount, "no such layers")
    }
    let wanted = header.rawRange(layers: layers)
    guard room.byteCount == wanted.count else {
      throw .field("room", room.byteCount, limit: wanted.count, "not as long as the layers")
    }
    let needed = header.encodedRange(layers: layers)
    guard offset >= 0, offset <= needed.lowerBound,
      encoded.byteCount >= needed.upperBound - offset
    else {
      throw .truncated(needed: needed.upperBound - offset, have: encoded.byteCount)
    }
    // Safe because: blocks lie inside the object as the header was checked, the window holds
    // them as was checked above, and planes lie inside the room or in memory of their own.
    try unsafe room.withUnsafeMutableBytes { room throws(CodecFault) in
      try unsafe encoded.withUnsafeBytes { encoded throws(CodecFault) in
        unsafe try BlockRun(header, context, encoded, at: offset, room, wanted)
          .decode(header.blocks(ofLayers: layers), body)
      }
    }
  }
}
