internal import ArgumentParser
internal import KDNCore
internal import KDNTier

/// `kdn fsck`: whether a directory of the disk tier is sound.
struct FsckCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "fsck",
    abstract: "Checks a directory of the disk tier while no daemon uses it.",
    discussion: """
      Exit codes: 0 sound, 1 something is damaged, 2 not usable: in use, not ours, a newer format.
      Notes tell what a stop in the middle left behind and what costs nothing.

      With --repair, objects whose bytes are damaged are purged in the journal, and segments that
      lack their footer get one; both is told. Then the exit code says what is still damaged.
      """)

  @OptionGroup var target: DirectoryArguments
  @Flag(help: "Read only what a daemon reads when it starts, not the bytes of all objects.")
  var fast = false
  @Flag(help: "Put right what can be put right.")
  var repair = false

  func answer() throws -> Bool {
    guard repair else {
      let report = try target.check(readsPayloads: !fast)
      try show(report)
      return report.findings.isEmpty
    }
    // Opened read-only first: to open a directory for writing makes it.
    _ = try target.check(readsPayloads: false)
    let storage = try FileDirectory(path: target.directory)
    let report = try target.check(storage, readsPayloads: !fast)
    let work = try LogRepair(storage, after: report)
    let after = try target.check(storage, readsPayloads: !fast)
    try show(report, RepairLines(work, after))
    return after.findings.isEmpty
  }

  private func show(_ report: CheckReport, _ repair: RepairLines? = nil) throws {
    guard !target.json else { return try Output.line(FsckReport(report, repair)) }
    for finding in report.findings { Output.line("\(finding)") }
    for note in report.notes { Output.line("note: \(note)") }
    let totals = report.totals
    Output.line(
      """
      directory \(report.superblock.directoryID), format \(report.superblock.formatVersion), \
      \(totals.files) files, \(totals.fileBytes) bytes
      journal: epoch \(totals.journalEpoch), \(totals.journalFrames) frames, \
      \(totals.journalEntries) entries
      segments: \(totals.sealedSegments) sealed, \(totals.unsealedSegments) unsealed, \
      \(totals.blankSegments) without contents
      records: \(totals.records), \(totals.liveRecords) live (\(totals.liveBytes) bytes), \
      \(totals.deadRecords) dead, \(totals.supersededRecords) replaced, \
      \(totals.expiredRecords) expired, \(totals.damagedRecords) damaged, \
      \(totals.tornRecords) torn
      checked the bytes of \(totals.payloadsChecked) records
      documents: \(totals.documents), \(totals.documentEdits) edits, \
      \(totals.documentRules) rules
      """)
    for name in repair?.sealed ?? [] { Output.line("repaired: \(name) has a footer now") }
    for key in repair?.purged ?? [] { Output.line("repaired: purged \(key)") }
    let left = repair?.findingsLeft ?? report.findings.count
    Output.line(left == 0 ? "sound" : "damaged, findings: \(left)")
  }
}

/// What was repaired.
private struct RepairLines: Encodable {
  let sealed: [String]
  let purged: [String]
  let findingsLeft: Int

  init(_ repair: LogRepair, _ after: CheckReport) {
    sealed = repair.sealed
    purged = repair.purged.map {
      "\($0.header.facts.namespace)/\(KeyText($0.header.facts.key))"
    }
    findingsLeft = after.findings.count
  }
}

/// A report, for programs.
private struct FsckReport: Encodable {
  let directoryID: String
  let formatVersion: Int
  let segmentBytes: Int
  let files, fileBytes: Int
  let journalEpoch: UInt64
  let journalFrames, journalEntries: Int
  let sealedSegments, unsealedSegments, blankSegments: Int
  let records, liveRecords, liveBytes, deadRecords, supersededRecords: Int
  let expiredRecords, damagedRecords, tornRecords, payloadsChecked: Int
  let documents, documentEdits, documentRules: Int
  let findings, notes: [FindingLine]
  let repair: RepairLines?

  init(_ report: CheckReport, _ repair: RepairLines?) {
    directoryID = "\(report.superblock.directoryID)"
    formatVersion = Int(report.superblock.formatVersion)
    segmentBytes = report.superblock.segmentBytes
    let totals = report.totals
    files = totals.files
    fileBytes = totals.fileBytes
    journalEpoch = totals.journalEpoch
    journalFrames = totals.journalFrames
    journalEntries = totals.journalEntries
    sealedSegments = totals.sealedSegments
    unsealedSegments = totals.unsealedSegments
    blankSegments = totals.blankSegments
    records = totals.records
    liveRecords = totals.liveRecords
    liveBytes = totals.liveBytes
    deadRecords = totals.deadRecords
    supersededRecords = totals.supersededRecords
    expiredRecords = totals.expiredRecords
    damagedRecords = totals.damagedRecords
    tornRecords = totals.tornRecords
    payloadsChecked = totals.payloadsChecked
    documents = totals.documents
    documentEdits = totals.documentEdits
    documentRules = totals.documentRules
    findings = report.findings.map(FindingLine.init)
    notes = report.notes.map(FindingLine.init)
    self.repair = repair
  }
}
