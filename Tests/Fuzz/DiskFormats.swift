import KDNCore
import KDNTier

// Every structure of the disk tier: what is taken writes the same bytes again. Input: u8 structure,
// and 128 if checksums stay as they come instead of being made right; then the structure, cut at
// the end of its last block or filled up with zeros.

private let nonce: UInt64 = 0x0123_4567_89AB_CDEF

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  let choice = input.byte()
  let isResealed = choice & 128 == 0
  let bytes = input.rest()
  switch choice % 128 % 11 {
  case 0:
    let block = sealed(bytes, blocks: 1, isResealed)
    guard let value = try? block.withUnsafeBytes({ try Superblock(reading: $0) }) else { break }
    same(block) { value.write(to: $0) }
  case 1:
    let block = sealed(bytes, blocks: 1, isResealed)
    guard let value = try? block.withUnsafeBytes({ try JournalHeader(reading: $0) }) else { break }
    same(block) { value.write(to: $0) }
  case 2:
    let block = sealed(bytes, blocks: 1, isResealed)
    guard let value = try? block.withUnsafeBytes({ try SegmentHeader(reading: $0) }) else { break }
    same(block) { value.write(to: $0) }
  case 3:
    let block = sealed(bytes, blocks: 1, isResealed)
    guard let value = try? block.withUnsafeBytes({ try SegmentTrailer(reading: $0) }) else { break }
    precondition(value.firstSequence <= value.lastSequence && value.footerBlocks >= 0)
    same(block) { value.write(to: $0) }
  case 4: record(bytes, isResealed)
  case 5: frame(bytes, isResealed)
  case 6: entries(bytes)
  case 7: checkpoint(bytes, isResealed)
  case 8:
    let block = sealed(bytes, blocks: 1, isResealed)
    guard let value = try? block.withUnsafeBytes({ try DocumentFileHeader(reading: $0) })
    else { break }
    same(block) { value.write(to: $0) }
  case 9: documents(bytes, isResealed)
  default: changes(bytes)
  }
  return 0
}

private func record(_ bytes: [UInt8], _ isResealed: Bool) {
  var header = filled(bytes, to: RecordHeader.byteCount)
  if isResealed {
    store(nonce, in: &header, at: 504)
    store(Checksum(of: header).value, in: &header, at: 504)
  }
  guard let value = try? header.withUnsafeBytes({ try RecordHeader(reading: $0, nonce: nonce) })
  else { return }
  let facts = value.facts
  precondition(facts.byteCount > 0 && facts.firstToken >= 0 && facts.tokenCount >= 0)
  precondition(value.recordBytes >= value.payloadOffset + value.storedBytes)
  precondition(value.blocks.lowerBound == value.blockIndex && !value.blocks.isEmpty)
  same(header) { value.write(to: $0, nonce: nonce) }
  precondition(
    (try? header.withUnsafeBytes { try RecordHeader(reading: $0, nonce: nonce + 1) }) == nil,
    "a header of one segment is none of another")
}

/// Frames one behind the other, as a journal has them; each is made right.
private func frame(_ bytes: [UInt8], _ isResealed: Bool) {
  let blocks = max(1, (bytes.count + diskBlockBytes - 1) / diskBlockBytes)
  let journal = filled(bytes, to: blocks * diskBlockBytes)
  var start = 0
  var index: UInt64 = 0
  while start < journal.count {
    var rest = Array(journal[start...])
    if isResealed {
      let claimed = Int(rest[8]) | Int(rest[9]) << 8
      let end = max(1, min(claimed, rest.count / diskBlockBytes)) * diskBlockBytes
      store(Checksum(of: rest, first: end - 8).value, in: &rest, at: end - 8)
    }
    guard
      let (value, count) = try? rest.withUnsafeBytes({
        try JournalFrame.read($0, epoch: 1, index: index)
      })
    else { return }
    precondition(count == JournalFrame.blocks(for: value.entries) * diskBlockBytes)
    same(Array(rest[..<count])) { value.write(to: $0) }
    start += count
    index += 1
  }
}

private func entries(_ bytes: [UInt8]) {
  var reader = ByteReader(bytes)
  while reader.remaining > 0 {
    let start = reader.offset
    guard let entry = try? JournalEntry(from: &reader) else { return }
    let copy = written { entry.write(to: &$0) }
    precondition(copy == Array(bytes[start..<reader.offset]), "an entry has one encoding")
    precondition(copy.count == entry.encodedBytes)
  }
}

private func changes(_ bytes: [UInt8]) {
  var reader = ByteReader(bytes)
  while reader.remaining > 0 {
    let start = reader.offset
    guard let change = try? DocumentChange(from: &reader) else { return }
    let copy = written { change.write(to: &$0) }
    precondition(copy == Array(bytes[start..<reader.offset]), "a change has one encoding")
    precondition(copy == change.bytes)
  }
}

/// A whole file of documents: the header is made right, and so are the frames behind it.
private func documents(_ bytes: [UInt8], _ isResealed: Bool) {
  let blocks = max(2, (bytes.count + diskBlockBytes - 1) / diskBlockBytes)
  var file = filled(bytes, to: blocks * diskBlockBytes)
  if isResealed {
    store(Checksum(of: file, first: 4088).value, in: &file, at: 4088)
    var start = diskBlockBytes
    while start < file.count {
      let claimed = Int(file[start + 8]) | Int(file[start + 9]) << 8
      let end = start + max(1, min(claimed, (file.count - start) / diskBlockBytes)) * diskBlockBytes
      let content = Checksum(of: Array(file[start..<end - 8]))
      store(content.value, in: &file, at: end - 8)
      start = end
    }
  }
  let survey = file.withUnsafeBytes { DocumentSurvey(reading: $0) }
  precondition(survey.batch <= survey.lastBatch && survey.nextBlock * diskBlockBytes <= file.count)
  if survey.condition == .sound, let header = survey.header {
    precondition(survey.frames >= header.stateFrames)
  }
  if survey.header == nil { precondition(survey.changes.isEmpty && survey.condition != .sound) }
}

private func checkpoint(_ bytes: [UInt8], _ isResealed: Bool) {
  guard let directory = try? directory() else { return }
  let blocks = max(1, (bytes.count + diskBlockBytes - 1) / diskBlockBytes)
  var file = filled(bytes, to: blocks * diskBlockBytes)
  if isResealed {
    let count = Int(file[24]) | Int(file[25]) << 8
    let end = Checkpoint.byteCount(entries: count)
    if end <= file.count {
      let content = Checksum(of: Array(file[diskBlockBytes..<end]))
      store(content.value, in: &file, at: 32)
    }
    store(Checksum(of: file, first: 4088).value, in: &file, at: 4088)
  }
  guard
    let value = try? file.withUnsafeBytes({ try Checkpoint(reading: $0, directoryID: directory) })
  else { return }
  let end = Checkpoint.byteCount(entries: value.entries.count)
  same(Array(file[..<end])) { value.write(to: $0) }
}

private func directory() throws -> DirectoryID {
  var reader = ByteReader(Array(0x10..<0x20))
  return try DirectoryID(from: &reader)
}

private func sealed(_ bytes: [UInt8], blocks: Int, _ isResealed: Bool) -> [UInt8] {
  var block = filled(bytes, to: blocks * diskBlockBytes)
  if isResealed {
    let end = block.count - 8
    store(Checksum(of: block, first: end).value, in: &block, at: end)
  }
  return block
}

private func filled(_ bytes: [UInt8], to count: Int) -> [UInt8] {
  Array(bytes.prefix(count)) + [UInt8](repeating: 0, count: max(0, count - bytes.count))
}

private func store(_ value: UInt64, in bytes: inout [UInt8], at offset: Int) {
  for index in 0..<8 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
}

private func same(_ bytes: [UInt8], _ write: (UnsafeMutableRawBufferPointer) -> Void) {
  var copy = [UInt8](repeating: 0xA5, count: bytes.count)
  copy.withUnsafeMutableBytes { write($0) }
  precondition(copy == bytes, "a structure has one form")
}
