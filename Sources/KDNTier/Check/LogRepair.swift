internal import KDNCore
internal import KDNMemory

/// Puts right in a directory of the log what a check found and what can be put right.
package struct LogRepair {
  /// Segments that were given the trailer which they lacked.
  package private(set) var sealed: [String] = []
  /// Objects that were purged because their bytes are damaged.
  package private(set) var purged: [LiveRecord] = []
  private let reader: LogReader
  private let storage: any BlockDirectory

  /// Purges damaged objects in the journal, then seals segments that have no trailer.
  ///
  /// Records that were not written to their end are left out of the footers; nothing else is lost.
  ///
  /// `storage` must be writable, and nobody else's.
  ///
  /// - Throws: `beyondRepair` if the journal cannot be written on, or what `LogCheck` throws.
  package init(
    _ storage: any BlockDirectory, after report: CheckReport
  ) throws(CheckFault) {
    self.storage = storage
    reader = try LogReader(storage)
    if !report.damaged.isEmpty { try purge(report.damaged) }
    do throws(DiskError) {
      for name in report.unsealed { try seal(name) }
    } catch {
      throw .device(error)
    }
  }

  private mutating func purge(_ records: [LiveRecord]) throws(CheckFault) {
    let journal = reader.journal()
    guard !journal.isDistrusted, let name = journal.file else {
      throw .beyondRepair("the journal is damaged, a daemon begins a new one")
    }
    let frames = frames(of: records, after: journal)
    let blocks = frames.reduce(0) { $0 + JournalFrame.blocks(for: $1.entries) }
    let room = (reader.files[name] ?? 0) / diskBlockBytes - journal.nextBlock
    guard blocks <= room else {
      throw .beyondRepair("the journal is full; start a daemon once, which begins a new one")
    }
    do throws(DiskError) {
      let file = try storage.open(name)
      // What stands there may have been written and never made durable.
      try file.synchronise()
      try write(frames, to: file, from: journal.nextBlock)
    } catch {
      throw .device(error)
    }
    purged = records
  }

  private static let entriesPerFrame = 256

  private func frames(
    of records: [LiveRecord], after journal: JournalSurvey
  ) -> [JournalFrame] {
    let entries = records.map { record in
      JournalEntry.purgedKeys(
        record.header.facts.namespace, sequence: record.header.sequence,
        keys: [record.header.facts.key])
    }
    return stride(from: 0, to: entries.count, by: Self.entriesPerFrame).enumerated().map {
      let end = min(entries.count, $1 + Self.entriesPerFrame)
      return JournalFrame(
        epoch: journal.epoch, index: UInt64(journal.frames + $0), entries: Array(entries[$1..<end]))
    }
  }

  /// Each frame is durable before the next one is begun, as readers of journals expect.
  private func write(
    _ frames: [JournalFrame], to file: any BlockFile, from first: Int
  ) throws(DiskError) {
    var block = first
    for frame in frames {
      let count = JournalFrame.blocks(for: frame.entries)
      let buffer = PageBuffer(byteCount: count * diskBlockBytes)
      unsafe frame.write(to: buffer.bytes)
      try file.write(at: block * diskBlockBytes, from: [buffer.span])
      try file.synchronise()
      block += count
    }
  }

  private mutating func seal(_ name: String) throws(DiskError) {
    let file = try storage.open(name)
    let outcome = try SegmentReader.read(file, in: reader.superblock.directoryID)
    if let fault = outcome.fault { throw fault }
    if try SegmentReader.seal(file, outcome) { sealed.append(name) }
  }
}
