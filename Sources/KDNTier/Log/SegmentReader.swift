internal import KDNCore
internal import KDNMemory

/// Reads a segment file when a log is opened; blocks.
enum SegmentReader {
  /// What a segment file holds.
  struct Outcome: Sendable {
    /// nil: it was never begun, or not even its header is whole.
    var header: SegmentHeader?
    /// Whether a trailer told what is there, so that nothing was scanned.
    var wasSealed = false
    /// Whether the file is shorter than it was.
    var isCut = false
    var footerBlock = 0
    var records: [RecordHeader] = []
    /// Why the device cannot tell that what was scanned is durable.
    var fault: DiskError?
  }

  private static let windowBytes = 1 << 20

  /// Reads header, trailer and footer; scans the blocks if there is no valid trailer, and then has
  /// the device make durable what was found.
  static func read(
    _ file: any BlockFile, in directory: DirectoryID
  ) throws(DiskError) -> Outcome {
    var outcome = Outcome()
    let block = PageBuffer(byteCount: diskBlockBytes)
    try file.read(at: 0, into: [block.span])
    guard
      let header = try? unsafe SegmentHeader(reading: UnsafeRawBufferPointer(block.bytes)),
      header.directoryID == directory, header.segmentBytes >= file.byteCount
    else { return outcome }
    outcome.header = header
    outcome.isCut = header.segmentBytes > file.byteCount
    if !outcome.isCut, let trailer = try trailer(of: file, header, block),
      let records = try footer(of: file, header, trailer)
    {
      outcome.wasSealed = true
      outcome.footerBlock = trailer.footerBlock
      outcome.records = records
      return outcome
    }
    outcome.records = try scan(file, header)
    // What a killed process wrote may still be in the device's cache only.
    do throws(DiskError) {
      if !outcome.records.isEmpty { try file.synchronise() }
    } catch {
      outcome.fault = error
    }
    return outcome
  }

  /// Gives an unsealed segment, whose records are durable, its footer; false if it needs none or
  /// was cut short and has no room for one.
  static func seal(_ file: any BlockFile, _ outcome: Outcome) throws(DiskError) -> Bool {
    guard let header = outcome.header, !outcome.wasSealed, !outcome.isCut,
      !outcome.records.isEmpty
    else { return false }
    // Records were placed so that the footer fits behind them.
    let end = SegmentFooter(
      footer: outcome.records.flatMap { $0.encoded(nonce: header.nonce) },
      incarnation: header.incarnation, nonce: header.nonce,
      blockCount: file.byteCount / diskBlockBytes,
      firstSequence: outcome.records.map(\.sequence).min() ?? 0,
      lastSequence: outcome.records.map(\.sequence).max() ?? 0)
    try file.write(at: end.block * diskBlockBytes, from: [end.buffer.span])
    try file.synchronise()
    return true
  }

  private static func trailer(
    of file: any BlockFile, _ header: SegmentHeader, _ block: PageBuffer
  ) throws(DiskError) -> SegmentTrailer? {
    try file.read(at: file.byteCount - diskBlockBytes, into: [block.span])
    guard
      let trailer = try? unsafe SegmentTrailer(reading: UnsafeRawBufferPointer(block.bytes)),
      trailer.incarnation == header.incarnation, trailer.nonce == header.nonce,
      trailer.footerBlock + trailer.footerBlocks < file.byteCount / diskBlockBytes
    else { return nil }
    return trailer
  }

  private static func footer(
    of file: any BlockFile, _ header: SegmentHeader, _ trailer: SegmentTrailer
  ) throws(DiskError) -> [RecordHeader]? {
    guard trailer.recordCount > 0 else { return [] }
    let buffer = PageBuffer(byteCount: trailer.footerBlocks * diskBlockBytes)
    try file.read(at: trailer.footerBlock * diskBlockBytes, into: [buffer.span])
    return records(in: buffer, trailer, header)
  }

  /// The records that a footer names; nil if its checksum or one of its lines is wrong.
  static func records(
    in buffer: PageBuffer, _ trailer: SegmentTrailer, _ header: SegmentHeader
  ) -> [RecordHeader]? {
    let used = unsafe UnsafeRawBufferPointer(
      rebasing: buffer.bytes[0..<trailer.recordCount * RecordHeader.byteCount])
    guard unsafe Checksum(of: used) == trailer.footerChecksum else { return nil }
    return headers(in: buffer, count: trailer.recordCount, nonce: header.nonce) { record in
      record.incarnation == header.incarnation && record.blocks.upperBound <= trailer.footerBlock
    }
  }

  /// The first `count` record headers of a footer; nil if one is not whole or not as `isRight`
  /// wants it.
  static func headers(
    in buffer: PageBuffer, count: Int, nonce: UInt64, isRight: (RecordHeader) -> Bool
  ) -> [RecordHeader]? {
    var records: [RecordHeader] = []
    records.reserveCapacity(count)
    for index in 0..<count {
      let start = index * RecordHeader.byteCount
      let line = unsafe UnsafeRawBufferPointer(
        rebasing: buffer.bytes[start..<start + RecordHeader.byteCount])
      guard let record = try? unsafe RecordHeader(reading: line, nonce: nonce), isRight(record)
      else { return nil }
      records.append(record)
    }
    return records
  }

  /// Looks at every block for the beginning of a record of this life; believes those whose bytes
  /// have their checksum.
  private static func scan(
    _ file: any BlockFile, _ header: SegmentHeader
  ) throws(DiskError) -> [RecordHeader] {
    var records: [RecordHeader] = []
    let blockCount = file.byteCount / diskBlockBytes
    let window = PageBuffer(byteCount: min(windowBytes, file.byteCount))
    var windowStart = 0
    var windowBlocks = 0
    var block = 1
    while block < blockCount - 1 {
      if !(windowStart..<windowStart + windowBlocks).contains(block) {
        windowStart = block
        windowBlocks = min(windowBytes / diskBlockBytes, blockCount - block)
        try unsafe file.read(
          at: block * diskBlockBytes,
          into: [BlockSpan(base: window.base, byteCount: windowBlocks * diskBlockBytes)])
      }
      let start = (block - windowStart) * diskBlockBytes
      let line = unsafe UnsafeRawBufferPointer(
        rebasing: window.bytes[start..<start + RecordHeader.byteCount])
      guard
        let record = try? unsafe RecordHeader(reading: line, nonce: header.nonce),
        record.incarnation == header.incarnation, record.blockIndex == block,
        record.blocks.upperBound < blockCount, try isWhole(record, in: file)
      else {
        block += 1
        continue
      }
      records.append(record)
      block = record.blocks.upperBound
    }
    return records
  }

  private static func isWhole(
    _ record: RecordHeader, in file: any BlockFile
  ) throws(DiskError) -> Bool {
    let piece = PageBuffer(byteCount: min(windowBytes, record.recordBytes))
    var checksum = StreamingChecksum()
    var position = 0
    let end = record.payloadOffset + record.storedBytes
    while position < end {
      let count = min(piece.byteCount, record.recordBytes - position)
      try unsafe file.read(
        at: record.blockIndex * diskBlockBytes + position,
        into: [BlockSpan(base: piece.base, byteCount: count)])
      let first = max(record.payloadOffset, position)
      let last = min(end, position + count)
      if first < last {
        unsafe checksum.update(
          UnsafeRawBufferPointer(rebasing: piece.bytes[first - position..<last - position]))
      }
      position += count
    }
    return checksum.digest() == record.facts.storedChecksum
  }
}

/// Footer and trailer of a segment, ready to be written.
struct SegmentFooter {
  /// First block of the footer.
  let block: Int
  /// Footer, then trailer, up to the end of the file.
  let buffer: PageBuffer

  /// Lays out `footer`, encoded record headers back to back, at the end of a file of `blockCount`
  /// blocks.
  init(
    footer: [UInt8], incarnation: UInt64, nonce: UInt64, blockCount: Int, firstSequence: UInt64,
    lastSequence: UInt64
  ) {
    let count = footer.count / RecordHeader.byteCount
    let blocks = SegmentTrailer.footerBlocks(records: count)
    block = blockCount - 1 - blocks
    buffer = PageBuffer(byteCount: (blocks + 1) * diskBlockBytes)
    let trailer = SegmentTrailer(
      incarnation: incarnation, nonce: nonce, footerBlock: block, recordCount: count,
      firstSequence: firstSequence, lastSequence: lastSequence,
      footerChecksum: Checksum(of: footer))
    unsafe buffer.bytes.copyBytes(from: footer)
    unsafe trailer.write(
      to: UnsafeMutableRawBufferPointer(
        rebasing: buffer.bytes[blocks * diskBlockBytes..<(blocks + 1) * diskBlockBytes]))
  }
}

extension RecordHeader {
  /// The 512 bytes.
  func encoded(nonce: UInt64) -> [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
      unsafe write(to: UnsafeMutableRawBufferPointer(buffer), nonce: nonce)
      count = Self.byteCount
    }
  }
}

extension PageBuffer {
  /// All of it, for I/O.
  var span: BlockSpan { unsafe BlockSpan(base: base, byteCount: byteCount) }
}
