internal import KDNCore
internal import KDNMemory

/// What one segment holds, and what is wrong with it.
struct SegmentSurvey: Sendable {
  /// What can be said of the segment as a whole.
  enum State: Sendable, Equatable {
    /// A trailer of this life tells what is there.
    case sealed
    /// There is no such trailer: it was scanned.
    case unsealed
    /// It was never begun.
    case blank
    /// It cannot be read, or does not belong here.
    case unusable
  }

  let name: String
  private(set) var state = State.unusable
  private(set) var header: SegmentHeader?
  /// All records that a daemon would believe, in the order of their places.
  private(set) var records: [RecordHeader] = []
  /// What is wrong with those among them that are damaged, by the block that they start at.
  private(set) var damages: [Int: CheckProblem] = [:]
  private(set) var findings: [CheckFinding] = []
  private(set) var notes: [CheckFinding] = []
  private(set) var tornRecords = 0
  private(set) var payloadsChecked = 0

  init(
    _ name: String, _ reader: LogReader, readsPayloads: Bool, progress: (_ doneBytes: Int) -> Void
  ) {
    self.name = name
    let byteCount = reader.files[name] ?? 0
    let expected = reader.superblock.segmentBytes
    if byteCount != expected {
      notes.append(CheckFinding(name, .wrongLength(found: byteCount, expected: expected)))
    }
    guard byteCount >= SegmentHeader.segmentBytesRange.lowerBound,
      byteCount % diskBlockBytes == 0
    else { return }
    do throws(DiskError) {
      let file = try reader.open(name)
      let first = try LogReader.read(file, at: 0, byteCount: diskBlockBytes)
      guard let header = readHeader(first, reader, byteCount) else { return }
      self.header = header
      if header.segmentBytes == byteCount, try readFooter(file, header) {
        state = .sealed
        if readsPayloads { checkRecords(file, header, progress) }
      } else {
        state = .unsealed
        try scan(file, header, progress)
      }
    } catch {
      state = .unusable
      findings.append(CheckFinding(name, .unreadable(error)))
    }
  }

  // MARK: Header, trailer, footer

  private mutating func readHeader(
    _ first: PageBuffer, _ reader: LogReader, _ byteCount: Int
  ) -> SegmentHeader? {
    guard unsafe first.bytes.contains(where: { $0 != 0 }) else {
      state = .blank
      return nil
    }
    do throws(FieldFault) {
      let header = try unsafe SegmentHeader(reading: UnsafeRawBufferPointer(first.bytes))
      guard header.directoryID == reader.superblock.directoryID else {
        find(.foreign(header.directoryID), at: 0)
        return nil
      }
      guard header.segmentBytes >= byteCount else {
        find(.wrongLength(found: byteCount, expected: header.segmentBytes), at: 0)
        return nil
      }
      return header
    } catch {
      find(.malformed(error), at: 0)
      return nil
    }
  }

  /// Takes the records from the footer; false if there is no trailer of this life, or what it
  /// names is not there, so that the blocks have to be looked at.
  private mutating func readFooter(
    _ file: any BlockFile, _ header: SegmentHeader
  ) throws(DiskError) -> Bool {
    let last = file.byteCount / diskBlockBytes - 1
    let block = try LogReader.read(file, at: last * diskBlockBytes, byteCount: diskBlockBytes)
    let trailer: SegmentTrailer
    do throws(FieldFault) {
      trailer = try unsafe SegmentTrailer(reading: UnsafeRawBufferPointer(block.bytes))
    } catch {
      // Whatever has another magic is no trailer: an object's bytes, or nothing at all.
      if error.field != "magic" { note(.malformed(error), at: last) }
      return false
    }
    guard trailer.incarnation == header.incarnation, trailer.nonce == header.nonce else {
      return false
    }
    guard trailer.footerBlock + trailer.footerBlocks <= last else {
      find(.footerOutside, at: last)
      return false
    }
    guard trailer.recordCount > 0 else { return true }
    let footer = try LogReader.read(
      file, at: trailer.footerBlock * diskBlockBytes,
      byteCount: trailer.footerBlocks * diskBlockBytes)
    do throws(FieldFault) {
      records = try lines(of: footer, trailer)
    } catch {
      find(.malformed(error), at: trailer.footerBlock)
      return false
    }
    guard arePlacesRight(trailer) else {
      records = []
      return false
    }
    let sequences = records.map(\.sequence)
    if sequences.min() != trailer.firstSequence || sequences.max() != trailer.lastSequence {
      find(.wrongSequences, at: last)
    }
    return true
  }

  private func lines(
    of footer: PageBuffer, _ trailer: SegmentTrailer
  ) throws(FieldFault) -> [RecordHeader] {
    let used = unsafe UnsafeRawBufferPointer(
      rebasing: footer.bytes[..<(trailer.recordCount * RecordHeader.byteCount)])
    let found = unsafe Checksum(of: used)
    guard found == trailer.footerChecksum else {
      throw FieldFault(
        "footerChecksum", value: trailer.footerChecksum.value, limit: found.value,
        "does not match the footer")
    }
    var records: [RecordHeader] = []
    records.reserveCapacity(trailer.recordCount)
    for index in 0..<trailer.recordCount {
      let start = index * RecordHeader.byteCount
      let line = unsafe UnsafeRawBufferPointer(
        rebasing: used[start..<start + RecordHeader.byteCount])
      let record = try unsafe RecordHeader(reading: line, nonce: trailer.nonce)
      guard record.incarnation == trailer.incarnation else {
        throw FieldFault(
          "incarnation", value: record.incarnation, limit: trailer.incarnation,
          "of another life of the file")
      }
      records.append(record)
    }
    return records.sorted { $0.blockIndex < $1.blockIndex }
  }

  private mutating func arePlacesRight(_ trailer: SegmentTrailer) -> Bool {
    var end = 1
    for record in records {
      guard record.blockIndex >= end, record.blocks.upperBound <= trailer.footerBlock else {
        find(.recordOutside, at: record.blockIndex)
        return false
      }
      end = record.blocks.upperBound
    }
    return true
  }

  // MARK: Records

  private mutating func checkRecords(
    _ file: any BlockFile, _ header: SegmentHeader, _ progress: (_ doneBytes: Int) -> Void
  ) {
    for record in records {
      do throws(DiskError) {
        damages[record.blockIndex] = try RecordReader(file).problem(of: record, nonce: header.nonce)
      } catch {
        damages[record.blockIndex] = .unreadable(error)
      }
      progress(record.blocks.upperBound * diskBlockBytes)
    }
    payloadsChecked = records.count
  }

  /// Looks at every block for the beginning of a record of this life, and believes those whose
  /// bytes have their checksum.
  private mutating func scan(
    _ file: any BlockFile, _ header: SegmentHeader, _ progress: (_ doneBytes: Int) -> Void
  ) throws(DiskError) {
    let blockCount = file.byteCount / diskBlockBytes
    var window = BlockWindow(file)
    var block = 1
    while block < blockCount - 1 {
      let start = try unsafe window.block(block)
      let line = unsafe UnsafeRawBufferPointer(rebasing: start[..<RecordHeader.byteCount])
      guard let record = try? unsafe RecordHeader(reading: line, nonce: header.nonce),
        record.incarnation == header.incarnation, record.blockIndex == block,
        record.blocks.upperBound < blockCount
      else {
        block += 1
        continue
      }
      guard try RecordReader(file).problem(of: record, nonce: header.nonce) == nil else {
        tornRecords += 1
        block += 1
        continue
      }
      payloadsChecked += 1
      records.append(record)
      block = record.blocks.upperBound
      progress(block * diskBlockBytes)
    }
  }

  private mutating func find(_ problem: CheckProblem, at block: Int) {
    findings.append(CheckFinding(name, block: block, problem))
  }

  private mutating func note(_ problem: CheckProblem, at block: Int) {
    notes.append(CheckFinding(name, block: block, problem))
  }
}
