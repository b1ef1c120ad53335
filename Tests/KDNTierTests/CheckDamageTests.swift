import KDNCore
import Testing

@testable import KDNTier

/// A way to damage a directory that holds `a` (block 1) and `b` (block 3) in a sealed segment, and
/// a journal with three frames in its blocks 1 to 3.
struct Damage: Sendable, CustomTestStringConvertible {
  let name: String
  /// Findings: file, block, and what is wrong.
  let findings: [String]
  var notes: [String] = []
  /// Sequences of what is left.
  let live: [UInt64]
  /// Whether it is noticed without reading payloads.
  var isFast = true
  let make: @Sendable (MemoryDirectory) -> Void

  var testDescription: String { name }

  static let segment = "segment-00000001"
  static let lastBlock = LogBuilder.segmentBlocks - 1
  static let footerBlock = lastBlock - 1

  static let all: [Damage] = segments + journals + others

  static let segments: [Damage] = [
    Damage(name: "a segment's header", findings: ["\(segment) 0 malformed"], live: []) {
      $0[segment].flip(20)
    },
    Damage(name: "a header of another directory", findings: ["\(segment) 0 foreign"], live: []) {
      let header = SegmentHeader(
        incarnation: 1, nonce: 1, segmentBytes: LogBuilder.segmentBytes, directoryID: .random(),
        openedAtMilliseconds: 0)
      $0[segment].put(written(4096) { header.write(to: $0) }, at: 0)
    },
    Damage(
      name: "a trailer", findings: [], notes: ["\(segment) \(lastBlock) malformed"], live: [1, 2]
    ) { $0[segment].flip(lastBlock * 4096 + 30) },
    Damage(
      name: "a footer's line", findings: ["\(segment) \(footerBlock) malformed"], live: [1, 2]
    ) { $0[segment].flip(footerBlock * 4096 + 513) },
    Damage(
      name: "an object's bytes", findings: ["\(segment) 1 payload"], live: [2], isFast: false
    ) { $0[segment].flip(4096 + 5511) },
    Damage(
      name: "a record's header", findings: ["\(segment) 3 header_differs"], live: [1],
      isFast: false
    ) { $0[segment].flip(3 * 4096 + 300) },
    Damage(
      name: "a block that cannot be read", findings: ["\(segment) 3 unreadable"], live: [1],
      isFast: false
    ) { $0[segment].badBlocks = [4] },
    Damage(
      name: "a header that cannot be read", findings: ["\(segment) - unreadable"], live: []
    ) { $0[segment].badBlocks = [0] },
    Damage(
      name: "a segment cut short", findings: [], notes: ["\(segment) - wrong_length"],
      live: [1, 2]
    ) { $0[segment].bytes.removeLast(4096) },
    Damage(
      name: "a segment half made", findings: [], notes: ["\(segment) - wrong_length"], live: []
    ) { $0[segment].bytes = [1, 2, 3] },
    Damage(
      name: "a segment that became longer",
      findings: ["\(segment) 0 wrong_length"], notes: ["\(segment) - wrong_length"], live: []
    ) { $0[segment].bytes += [UInt8](repeating: 0, count: 4096) },
    Damage(
      name: "a segment that is there twice",
      findings: [
        "segment-00000002 0 incarnation_twice", "segment-00000002 1 sequence_twice",
        "segment-00000002 3 sequence_twice",
      ], live: [1, 2]
    ) { $0.files["segment-00000002"] = MemoryFile("segment-00000002", $0[segment].bytes) },
  ]

  static let journals: [Damage] = [
    Damage(
      name: "the journal's header, with no other",
      findings: ["journal-0 0 malformed", "journal-0 - no_journal"], live: []
    ) { $0["journal-0"].flip(9) },
    Damage(
      name: "a frame before others",
      findings: ["journal-0 2 malformed", "journal-0 2 journal_cut"], live: []
    ) { $0["journal-0"].flip(2 * 4096 + 40) },
    Damage(
      name: "a frame before others, wiped",
      findings: ["journal-0 1 malformed", "journal-0 1 journal_cut"], live: []
    ) { $0["journal-0"].put([UInt8](repeating: 0, count: 4096), at: 4096) },
    // Nobody was told that it is durable: the power may have failed while it was written.
    Damage(
      name: "the last frame", findings: [], notes: ["journal-0 3 malformed"], live: [1, 2]
    ) { $0["journal-0"].flip(3 * 4096 + 100) },
    Damage(
      name: "the journal cannot be read", findings: ["journal-0 - unreadable"], live: []
    ) { $0["journal-0"].badBlocks = [7] },
    Damage(
      name: "a journal is missing", findings: ["journal-1 - missing"], live: [1, 2]
    ) { $0.files["journal-1"] = nil },
    Damage(
      name: "both journals are missing",
      findings: ["journal-0 - missing", "journal-1 - missing", "journal-0 - no_journal"], live: []
    ) {
      $0.files["journal-0"] = nil
      $0.files["journal-1"] = nil
    },
    Damage(
      name: "the other journal's header", findings: ["journal-1 0 malformed"], live: [1, 2]
    ) { $0["journal-1"].flip(9) },
    Damage(
      name: "a journal of another directory", findings: ["journal-1 0 foreign"], live: [1, 2]
    ) {
      let header = JournalHeader(epoch: 9, directoryID: .random())
      $0["journal-1"].put(written(4096) { header.write(to: $0) }, at: 0)
    },
    Damage(
      name: "a journal cut short", findings: ["journal-0 - wrong_length"], live: [1, 2]
    ) { $0["journal-0"].bytes.removeLast(4096) },
  ]

  static let others: [Damage] = [
    Damage(
      name: "a checkpoint", findings: [], notes: ["checkpoint - malformed"], live: [1, 2]
    ) { $0.create("checkpoint", byteCount: 8192) },
    Damage(
      name: "a checkpoint half made", findings: [], notes: ["checkpoint - wrong_length"],
      live: [1, 2]
    ) { $0.files["checkpoint"] = MemoryFile("checkpoint", [1]) },
    Damage(name: "a file of somebody else", findings: [], live: [1, 2]) {
      $0.create("notes.txt", byteCount: 4096)
    },
  ]
}

@Suite("Damage in a directory is found, named with its place, and costs nothing else")
struct CheckDamageTests {
  static func sound() throws -> LogBuilder {
    var log = LogBuilder()
    log.segment([try LogBuilder.object("a"), try LogBuilder.object("b")])
    log.remember([.sequenceReserved(1000)])
    log.remember([.generation(try NamespaceName("other"), 4)])
    log.remember([.generation(try NamespaceName("other"), 5)])
    return log
  }

  @Test("each damage", arguments: Damage.all)
  func damage(_ damage: Damage) throws {
    let log = try Self.sound()
    #expect(try log.check().live.count == 2)
    damage.make(log.storage)
    let report = try log.check()
    #expect(report.findings.map(\.line) == damage.findings)
    #expect(report.notes.map(\.line) == damage.notes)
    #expect(report.live.map(\.header.sequence) == damage.live)
  }

  @Test("without payloads what a start reads is checked, and nothing else", arguments: Damage.all)
  func fast(_ damage: Damage) throws {
    let log = try Self.sound()
    damage.make(log.storage)
    let report = try log.check(readsPayloads: false)
    #expect(report.findings.map(\.line) == (damage.isFast ? damage.findings : []))
    #expect(report.live.map(\.header.sequence) == (damage.isFast ? damage.live : [1, 2]))
  }

  @Test("the journal with the higher epoch counts")
  func newerJournal() throws {
    let log = try Self.sound()
    let tenant = try NamespaceName("tenant")
    let header = JournalHeader(epoch: 2, directoryID: log.id)
    let frame = JournalFrame(epoch: 2, index: 0, entries: [.generation(tenant, 1)])
    log.storage["journal-1"].put(frame.blocks, at: 4096)
    #expect(try log.check().live.count == 2)
    log.storage["journal-1"].put(written(4096) { header.write(to: $0) }, at: 0)
    let report = try log.check()
    #expect(report.findings.isEmpty)
    #expect(report.live.isEmpty)
    #expect(report.totals.deadRecords == 2)
    #expect(report.totals.journalEpoch == 2)
  }

  @Test("frames that an earlier journal left behind the last one are not damage")
  func leftFrames() throws {
    let log = try Self.sound()
    for block in 4..<8 {
      let frame = JournalFrame(epoch: 9, index: UInt64(block), entries: [])
      log.storage["journal-0"].put(frame.blocks, at: block * 4096)
    }
    let report = try log.check()
    #expect(report.findings.isEmpty && report.notes.isEmpty)
  }

  @Test("a frame that leaves others out is not read, and nothing is believed")
  func skippedFrame() throws {
    let log = try Self.sound()
    let frame = JournalFrame(epoch: 1, index: 4, entries: [])
    log.storage["journal-0"].put(frame.blocks, at: 4 * 4096)
    let report = try log.check()
    #expect(
      report.findings.map(\.line) == ["journal-0 4 malformed", "journal-0 4 journal_cut"])
    #expect(report.live.isEmpty)
  }

  @Test("a record of a generation that the journal does not know is found, and not live")
  func generationAhead() throws {
    var log = try Self.sound()
    log.segment([try LogBuilder.object("x", in: "other", generation: 6)])
    let report = try log.check()
    #expect(report.findings.map(\.line) == ["segment-00000002 1 generation_ahead"])
    #expect(report.live.count == 2)
  }

  @Test("a footer whose trailer is right and whose records overlap is not believed")
  func overlap() throws {
    var log = LogBuilder()
    let (name, records) = log.segment([try LogBuilder.object("a"), try LogBuilder.object("b")])
    var lines = records
    lines[1].blockIndex = 2
    let nonce: UInt64 = 0xABCD_0001
    let footer = lines.flatMap { line in written(512) { line.write(to: $0, nonce: nonce) } }
    let trailer = SegmentTrailer(
      incarnation: 1, nonce: nonce, footerBlock: Damage.footerBlock, recordCount: 2,
      firstSequence: 1, lastSequence: 2, footerChecksum: Checksum(of: footer))
    log.storage[name].put(footer, at: Damage.footerBlock * 4096)
    log.storage[name].put(
      written(4096) { trailer.write(to: $0) }, at: Damage.lastBlock * 4096)
    let report = try log.check()
    #expect(report.findings.map(\.line) == ["\(name) 2 record_outside"])
    #expect(report.live.map(\.header) == records)
  }

  @Test(
    "a trailer with a footer where none can be is not believed",
    arguments: [
      (Damage.lastBlock, 2, "footer_outside"), (1 << 31, 1, "footer_outside"),
      (Damage.footerBlock, 1 << 30, "footer_outside"), (Damage.footerBlock, 3, "malformed"),
    ])
  func footerPlace(block: Int, count: Int, problem: String) throws {
    let log = try Self.sound()
    let trailer = SegmentTrailer(
      incarnation: 1, nonce: 0xABCD_0001, footerBlock: block, recordCount: count,
      firstSequence: 1, lastSequence: 2, footerChecksum: Checksum(1))
    log.storage[Damage.segment].put(
      written(4096) { trailer.write(to: $0) }, at: Damage.lastBlock * 4096)
    let report = try log.check()
    #expect(report.findings.map(\.problem.name) == [problem])
    #expect(report.live.count == 2)
  }
}

extension CheckFinding {
  /// File, block and problem in short.
  var line: String { "\(file) \(block.map(String.init) ?? "-") \(problem.name)" }
}
