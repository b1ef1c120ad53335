internal import KDNCore
internal import KDNMemory

/// What the two journals of a directory hold.
struct JournalSurvey: Sendable {
  /// The journal that counts; nil if neither was ever begun, or neither is valid.
  private(set) var file: String?
  private(set) var epoch: UInt64 = 0
  /// How many frames it has, and the block behind the last.
  private(set) var frames = 0
  private(set) var nextBlock = 1
  private(set) var entries: [JournalEntry] = []
  private(set) var findings: [CheckFinding] = []
  private(set) var notes: [CheckFinding] = []
  /// Whether a daemon would believe nothing in the directory.
  private(set) var isDistrusted = false

  init(_ reader: LogReader) {
    var newest: (name: String, epoch: UInt64)?
    for name in DirectoryLayout.journals {
      guard let epoch = epoch(of: name, reader) else { continue }
      if newest.map({ epoch > $0.epoch }) ?? true { newest = (name, epoch) }
    }
    guard let newest else {
      guard !reader.segments.isEmpty else { return }
      findings.append(CheckFinding(DirectoryLayout.journals[0], .noJournal))
      isDistrusted = true
      return
    }
    file = newest.name
    epoch = newest.epoch
    do throws(DiskError) {
      let byteCount = reader.files[newest.name] ?? diskBlockBytes
      let whole = try LogReader.read(reader.open(newest.name), at: 0, byteCount: byteCount)
      readFrames(newest.name, whole)
    } catch {
      findings.append(CheckFinding(newest.name, .unreadable(error)))
      isDistrusted = true
    }
  }

  /// The epoch of a journal with a valid header; a damaged one is a finding, since the other
  /// journal, which then counts, may lack purges.
  private mutating func epoch(of name: String, _ reader: LogReader) -> UInt64? {
    guard let byteCount = reader.files[name] else {
      findings.append(CheckFinding(name, .missing))
      return nil
    }
    let expected = reader.superblock.journalBytes
    if byteCount != expected {
      findings.append(CheckFinding(name, .wrongLength(found: byteCount, expected: expected)))
    }
    guard byteCount >= diskBlockBytes, byteCount % diskBlockBytes == 0 else { return nil }
    do {
      let block = try LogReader.read(reader.open(name), at: 0, byteCount: diskBlockBytes)
      guard unsafe block.bytes.contains(where: { $0 != 0 }) else { return nil }
      let header = try unsafe JournalHeader(reading: UnsafeRawBufferPointer(block.bytes))
      guard header.directoryID == reader.superblock.directoryID else {
        findings.append(CheckFinding(name, block: 0, .foreign(header.directoryID)))
        return nil
      }
      return header.epoch
    } catch let fault as FieldFault {
      findings.append(CheckFinding(name, block: 0, .malformed(fault)))
    } catch let error as DiskError {
      findings.append(CheckFinding(name, block: 0, .unreadable(error)))
    } catch {
      preconditionFailure("no other errors are thrown: \(error)")
    }
    return nil
  }

  private mutating func readFrames(_ name: String, _ journal: PageBuffer) {
    var start = diskBlockBytes
    while start < journal.byteCount {
      do throws(FieldFault) {
        let (frame, byteCount) = try unsafe JournalFrame.read(
          rest(of: journal, start), epoch: epoch, index: UInt64(frames))
        entries += frame.entries
        frames += 1
        start += byteCount
      } catch {
        noteEnd(error, name, journal, start)
        break
      }
    }
    nextBlock = start / diskBlockBytes
  }

  /// Whatever stands where the next frame would: nothing, what an earlier journal left, a frame
  /// that was not written to its end, or one that has been damaged since.
  private mutating func noteEnd(
    _ fault: FieldFault, _ name: String, _ journal: PageBuffer, _ start: Int
  ) {
    let isFollowed = stride(from: start + diskBlockBytes, to: journal.byteCount, by: diskBlockBytes)
      .contains { isLaterFrame(journal, $0) }
    let block = start / diskBlockBytes
    if isFollowed || isLaterFrame(journal, start) {
      findings.append(CheckFinding(name, block: block, .malformed(fault)))
      findings.append(CheckFinding(name, block: block, .journalCut))
      isDistrusted = true
    } else if !["magic", "epoch"].contains(fault.field), isOfThisEpoch(journal, start) {
      notes.append(CheckFinding(name, block: block, .malformed(fault)))
    }
  }

  private func isLaterFrame(_ journal: PageBuffer, _ start: Int) -> Bool {
    let rest = unsafe rest(of: journal, start)
    let index = unsafe number(rest, at: JournalFrame.indexOffset)
    guard index > UInt64(frames) else { return false }
    return (try? unsafe JournalFrame.read(rest, epoch: epoch, index: index)) != nil
  }

  private func isOfThisEpoch(_ journal: PageBuffer, _ start: Int) -> Bool {
    unsafe number(rest(of: journal, start), at: JournalFrame.epochOffset) == epoch
  }

  @unsafe private func number(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64 {
    unsafe UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  @unsafe private func rest(of journal: PageBuffer, _ start: Int) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(rebasing: journal.bytes[start...])
  }
}
