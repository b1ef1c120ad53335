internal import KDNCore

/// Blocks of one object being decoded into the bytes of some of its layers.
@unsafe struct BlockRun {
  private let header: EncodedHeader
  private let context: BlockContext
  private let encoded: UnsafeRawBufferPointer
  private let offset: Int
  private let room: UnsafeMutableRawBufferPointer
  private let wanted: Range<Int>
  private let working = WorkingRoom()

  /// `encoded` begins at the object's byte `offset` and holds all blocks that will be asked for;
  /// `room` is for the object's decoded bytes `wanted`.
  init(
    _ header: EncodedHeader, _ context: BlockContext, _ encoded: UnsafeRawBufferPointer,
    at offset: Int, _ room: UnsafeMutableRawBufferPointer, _ wanted: Range<Int>
  ) {
    unsafe self.header = header
    unsafe self.context = context
    unsafe self.encoded = encoded
    unsafe self.offset = offset
    unsafe self.room = room
    unsafe self.wanted = wanted
  }

  /// Decodes the blocks of `indices`; gives `body` the planes of each when they are good.
  ///
  /// - Throws: `checksum` or a field fault.
  func decode(
    _ indices: [Int], _ body: (UnsafeRawBufferPointer) -> Void
  ) throws(CodecFault) {
    var next = 0
    while next < indices.count {
      let together = unsafe blocksTogether(indices[next...])
      for index in indices[next..<next + together] { unsafe try checkEncoded(index) }
      if let planes = unsafe header.planes(of: header.blocks[indices[next]]) {
        if unsafe hasStream(indices[next]) {
          unsafe try decodeTogether(indices[next..<next + together], body)
        } else {
          unsafe try decodeAlone(indices[next], planes, body)
        }
      } else {
        unsafe try decodeOpaque(indices[next], body)
      }
      next += together
    }
  }

  /// How many of the first blocks can be decoded side by side: with a stream each, of as many
  /// tokens.
  private func blocksTogether(_ indices: ArraySlice<Int>) -> Int {
    guard let first = indices.first, unsafe hasStream(first) else { return 1 }
    let rawTokens = unsafe header.blocks[first].rawTokens
    return indices.prefix(WorkingRoom.streams).prefix { index in
      unsafe hasStream(index) && header.blocks[index].rawTokens == rawTokens
    }.count
  }

  private func hasStream(_ index: Int) -> Bool { unsafe header.blocks[index].kind.hasStream }

  private func bytes(_ index: Int) -> UnsafeRawBufferPointer {
    let range = unsafe header.blocks[index].range
    return unsafe UnsafeRawBufferPointer(
      rebasing: encoded[range.lowerBound - offset..<range.upperBound - offset])
  }

  private func checkEncoded(_ index: Int) throws(CodecFault) {
    let told = unsafe header.blocks[index].encodedChecksum
    let found = unsafe Checksum(of: bytes(index))
    guard found == told else {
      throw .checksum("block \(index)", wanted: told.value, found: found.value)
    }
  }

  private func check(_ decoded: Checksum, _ index: Int) throws(CodecFault) {
    let told = unsafe header.blocks[index].decodedChecksum
    guard decoded == told else {
      throw .checksum("decoded block \(index)", wanted: told.value, found: decoded.value)
    }
  }

  private func decodeTogether(
    _ indices: ArraySlice<Int>, _ body: (UnsafeRawBufferPointer) -> Void
  ) throws(CodecFault) {
    var jobs: [PlaneJob] = unsafe []
    for (at, index) in indices.enumerated() {
      let block = unsafe header.blocks[index]
      guard let planes = unsafe header.planes(of: block) else {
        preconditionFailure("the header was checked: each block has its planes")
      }
      unsafe jobs.append(
        PlaneJob(
          kind: block.kind, bytes: bytes(index), planes: planes, rawTokens: block.rawTokens,
          targets: targets(planes, at)))
    }
    let faults = unsafe context.decode(jobs, working)
    for (at, index) in indices.enumerated() {
      if let fault = faults[at] { throw .field(fault) }
      unsafe try finish(index, jobs[at].targets, body)
    }
  }

  /// Decodes a block without a stream, of one plane.
  private func decodeAlone(
    _ index: Int, _ planes: [PlaneShape], _ body: (UnsafeRawBufferPointer) -> Void
  ) throws(CodecFault) {
    let block = unsafe header.blocks[index]
    let rooms = unsafe targets(planes, 0)
    try CodecFault.wrapping { () throws(FieldFault) in
      unsafe try context.decode(
        block.kind, bytes(index), planes, rawTokens: block.rawTokens, into: rooms, working)
    }
    unsafe try finish(index, rooms, body)
  }

  private func finish(
    _ index: Int, _ rooms: [UnsafeMutableRawBufferPointer],
    _ body: (UnsafeRawBufferPointer) -> Void
  ) throws(CodecFault) {
    unsafe try check(Self.checksum(of: rooms), index)
    for index in unsafe rooms.indices { unsafe body(UnsafeRawBufferPointer(rooms[index])) }
  }

  /// Where planes go: those that are not wanted to memory of the stream `index`, to be dropped.
  private func targets(_ planes: [PlaneShape], _ index: Int) -> [UnsafeMutableRawBufferPointer] {
    let outside = planes.reduce(0) {
      unsafe $0 + (wanted.contains($1.range.lowerBound) ? 0 : $1.byteCount)
    }
    let spare = unsafe working.take(.decoded(index), byteCount: outside)
    var used = 0
    var rooms: [UnsafeMutableRawBufferPointer] = unsafe []
    for plane in planes {
      if unsafe wanted.contains(plane.range.lowerBound) {
        let start = unsafe plane.offset - wanted.lowerBound
        unsafe rooms.append(.init(rebasing: room[start..<start + plane.byteCount]))
      } else {
        unsafe rooms.append(.init(rebasing: spare[used..<used + plane.byteCount]))
        used += plane.byteCount
      }
    }
    return unsafe rooms
  }

  private func decodeOpaque(
    _ index: Int, _ body: (UnsafeRawBufferPointer) -> Void
  ) throws(CodecFault) {
    try CodecFault.wrapping { () throws(FieldFault) in
      unsafe try BlockContext.decodeOpaque(header.blocks[index].kind, bytes(index), into: room)
    }
    let decoded = unsafe UnsafeRawBufferPointer(room)
    unsafe try check(Checksum(of: decoded), index)
    unsafe body(decoded)
  }

  /// The checksum of planes one behind the other.
  static func checksum(of rooms: [UnsafeMutableRawBufferPointer]) -> Checksum {
    var streaming = StreamingChecksum()
    for index in unsafe rooms.indices {
      unsafe streaming.update(UnsafeRawBufferPointer(rooms[index]))
    }
    return streaming.digest()
  }
}
