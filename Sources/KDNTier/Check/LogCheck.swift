internal import KDNCore

/// Checks a directory of the log, as it stands on the device, and changes nothing.
///
/// What it believes is what a daemon would believe at its next start.
package struct LogCheck {
  private let reader: LogReader
  private let readsPayloads: Bool
  private let now: UInt64
  private var report: CheckReport
  private var tenants = Tenants()
  private var newest: [DiskKey: (file: String, record: RecordHeader)] = [:]
  private var sequences: Set<UInt64> = []
  private var incarnations: Set<UInt64> = []
  private var damages: [Place: CheckProblem] = [:]

  private struct Place: Hashable, Comparable {
    let file: String
    let block: Int

    static func < (left: Self, right: Self) -> Bool {
      (left.file, left.block) < (right.file, right.block)
    }
  }

  /// Checks everything in `storage`; without `readsPayloads` only what a start reads: journals,
  /// headers, trailers, footers, and unsealed segments.
  ///
  /// `nowMilliseconds`: the wall clock, which decides whose TTL is over. `progress` is told how
  /// many bytes of segments are behind, and of how many: after each record that is read, at least
  /// after each segment.
  ///
  /// - Throws: `notOurs`, `format` or `device` if not even the superblock can be read.
  package static func report(
    on storage: any BlockDirectory, readsPayloads: Bool, nowMilliseconds: UInt64,
    progress: (_ doneBytes: Int, _ totalBytes: Int) -> Void = { _, _ in }
  ) throws(CheckFault) -> CheckReport {
    var check = try Self(
      LogReader(storage), readsPayloads: readsPayloads, nowMilliseconds: nowMilliseconds)
    check.run(progress)
    return check.report
  }

  private init(_ reader: LogReader, readsPayloads: Bool, nowMilliseconds: UInt64) {
    self.reader = reader
    self.readsPayloads = readsPayloads
    now = nowMilliseconds
    report = CheckReport(reader.superblock)
  }

  private mutating func run(_ progress: (_ doneBytes: Int, _ totalBytes: Int) -> Void) {
    let ours = reader.files.filter {
      DirectoryLayout.isOurs($0.key) || $0.key == FileDirectory.lockName
    }
    report.totals.files = ours.count
    report.totals.fileBytes = ours.values.reduce(0, +)
    let isDistrusted = readJournal()
    if let finding = reader.checkpointFinding() { report.notes.append(finding) }
    if let finding = reader.profilesFinding() { report.findings.append(finding) }
    readDocuments()
    let segments = reader.segments
    let total = segments.reduce(0) { $0 + (reader.files[$1] ?? 0) }
    var done = 0
    for name in segments {
      let segment = reader.segment(name, readsPayloads: readsPayloads) { part in
        progress(done + part, total)
      }
      take(segment, isDistrusted: isDistrusted)
      done += reader.files[name] ?? 0
      progress(done, total)
    }
    listLive()
    listDamages()
  }

  private mutating func readJournal() -> Bool {
    let journal = reader.journal()
    for entry in journal.entries { _ = tenants.apply(entry) }
    report.findings += journal.findings
    report.notes += journal.notes
    report.totals.journalEpoch = journal.epoch
    report.totals.journalFrames = journal.frames
    report.totals.journalEntries = journal.entries.count
    return journal.isDistrusted
  }

  private mutating func readDocuments() {
    let name = DirectoryLayout.documents
    do throws(DiskError) {
      guard let survey = try reader.documents() else { return }
      switch survey.condition {
      case .sound: break
      case .torn(let block, let fault):
        report.notes.append(CheckFinding(name, block: block, .malformed(fault)))
      case .damaged(let block, let fault):
        report.findings.append(CheckFinding(name, block: block, .malformed(fault)))
      }
      report.totals.count(survey.changes)
    } catch {
      report.findings.append(CheckFinding(name, .unreadable(error)))
    }
  }

  private mutating func take(_ segment: SegmentSurvey, isDistrusted: Bool) {
    report.findings += segment.findings
    report.notes += segment.notes
    report.totals.tornRecords += segment.tornRecords
    report.totals.payloadsChecked += segment.payloadsChecked
    report.totals.records += segment.records.count
    switch segment.state {
    case .sealed: report.totals.sealedSegments += 1
    case .unsealed:
      report.totals.unsealedSegments += 1
      if !segment.records.isEmpty { report.unsealed.append(segment.name) }
    case .blank, .unusable: report.totals.blankSegments += 1
    }
    if let header = segment.header, !incarnations.insert(header.incarnation).inserted {
      report.findings.append(
        CheckFinding(segment.name, block: 0, .incarnationTwice(header.incarnation)))
    }
    for record in segment.records {
      if let damage = segment.damages[record.blockIndex] {
        damages[Place(file: segment.name, block: record.blockIndex)] = damage
      }
      if !isDistrusted { take(record, of: segment.name) }
    }
  }

  private mutating func take(_ record: RecordHeader, of file: String) {
    if !sequences.insert(record.sequence).inserted {
      report.findings.append(
        CheckFinding(file, block: record.blockIndex, .sequenceTwice(record.sequence)))
    }
    let facts = record.facts
    let key = DiskKey(namespace: tenants.number(of: facts.namespace), key: facts.key)
    guard !tenants.isDead(key, generation: facts.generation, sequence: record.sequence) else {
      report.totals.deadRecords += 1
      return
    }
    guard facts.generation <= tenants.generation(of: facts.namespace) else {
      report.findings.append(
        CheckFinding(file, block: record.blockIndex, .generationAhead(facts.generation)))
      report.totals.deadRecords += 1
      return
    }
    guard facts.ttlLeft(atWallMilliseconds: now) != 0 else {
      report.totals.expiredRecords += 1
      return
    }
    guard let other = newest[key] else {
      newest[key] = (file, record)
      return
    }
    report.totals.supersededRecords += 1
    if other.record.sequence < record.sequence { newest[key] = (file, record) }
  }

  private mutating func listLive() {
    for (key, (file, record)) in newest {
      let live = LiveRecord(file: file, header: record, pinEndMilliseconds: pinEnd(of: key))
      if damages[Place(file: file, block: record.blockIndex)] != nil {
        report.damaged.append(live)
      } else {
        report.live.append(live)
      }
    }
    report.live.sort { $0.header.sequence < $1.header.sequence }
    report.damaged.sort { $0.header.sequence < $1.header.sequence }
    report.totals.liveRecords = report.live.count
    report.totals.liveBytes = report.live.reduce(0) { $0 + $1.header.storedBytes }
  }

  /// Damage to what no daemon would serve costs nothing.
  private mutating func listDamages() {
    report.totals.damagedRecords = damages.count
    let lost = Set(
      report.damaged.map { Place(file: $0.file, block: $0.header.blockIndex) })
    for (place, problem) in damages.sorted(by: { $0.key < $1.key }) {
      let finding = CheckFinding(place.file, block: place.block, problem)
      if lost.contains(place) {
        report.findings.append(finding)
      } else {
        report.notes.append(finding)
      }
    }
  }

  private func pinEnd(of key: DiskKey) -> UInt64? {
    guard let end = tenants.pins[key], end > now else { return nil }
    return end
  }
}
