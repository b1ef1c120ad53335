import KDNCore
import Testing

@testable import KDNTier

@Suite("A check of a directory says what a daemon would find there")
struct CheckTests {
  @Test("a sound directory has no findings, and all its objects are listed")
  func sound() throws {
    var log = LogBuilder()
    let tenant = try NamespaceName("tenant")
    let pinned = try LogBuilder.object("b")
    log.remember([.sequenceReserved(1000)])
    log.remember([.pinned(tenant, pinned.facts.key, endMilliseconds: LogBuilder.now + 5)])
    log.segment([try LogBuilder.object("a", byteCount: 1), pinned])
    log.segment([try LogBuilder.object("c", byteCount: 20_000)], isPaged: true)
    log.segment([try LogBuilder.object("d")], sealed: false)
    log.segment([])
    log.storage.create("segment-00000009", byteCount: LogBuilder.segmentBytes)
    for readsPayloads in [true, false] {
      let report = try log.check(readsPayloads: readsPayloads)
      #expect(report.findings.isEmpty && report.notes.isEmpty)
      #expect(report.totals.sealedSegments == 3)
      #expect(report.totals.unsealedSegments == 1)
      #expect(report.totals.blankSegments == 1)
      #expect(report.totals.records == 4)
      #expect(report.totals.liveRecords == 4)
      #expect(report.totals.liveBytes == 1 + 5000 + 20_000 + 5000)
      #expect(report.totals.payloadsChecked == (readsPayloads ? 4 : 1))
      #expect(report.totals.journalFrames == 2)
      #expect(report.totals.files == 8)
      #expect(report.live.map(\.header.sequence) == [1, 2, 3, 4])
      #expect(report.live.map { $0.pinEndMilliseconds != nil } == [false, true, false, false])
      #expect(report.unsealed == ["segment-00000003"])
    }
  }

  @Test("what the journal declared dead, what is replaced and what is over is not live")
  func dead() throws {
    var log = LogBuilder()
    let tenant = try NamespaceName("tenant")
    let old = try NamespaceName("old")
    let purged = try LogBuilder.object("purged")
    log.segment([
      purged, try LogBuilder.object("twice"), try LogBuilder.object("over", ttl: 1000),
      try LogBuilder.object("young", ttl: 1001),
      try LogBuilder.object("past", in: "old", generation: 3),
      try LogBuilder.object("present", in: "old", generation: 4),
    ])
    log.remember([
      .generation(old, 4), .purgedKeys(tenant, sequence: 1, keys: [purged.facts.key]),
    ])
    log.segment([try LogBuilder.object("twice"), purged])
    let report = try log.check()
    #expect(report.findings.isEmpty)
    // Stored again after the purge, it counts.
    #expect(report.live.map(\.header.sequence) == [4, 6, 7, 8])
    #expect(report.totals.deadRecords == 2)
    #expect(report.totals.supersededRecords == 1)
    #expect(report.totals.expiredRecords == 1)
  }

  @Test("layout objects are dead by layout and by chunk")
  func deadLayouts() throws {
    var samples = FormatSamples(seed: 1)
    var log = LogBuilder()
    let tenant = try NamespaceName("tenant")
    var objects: [(facts: ObjectFacts, bytes: [UInt8])] = []
    for name in ["a", "b", "c"] {
      var object = try LogBuilder.object(name)
      let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
      object.facts.key = ObjectKey(
        hash: try samples.hash(), layout: samples.layoutID(), part: part)
      objects.append(object)
    }
    log.segment(objects)
    log.remember([
      .purgedLayouts(tenant, sequence: 9, layouts: [objects[0].facts.key.layout]),
      .purgedChunks(tenant, sequence: 9, hashes: [objects[1].facts.key.hash]),
    ])
    let report = try log.check()
    #expect(report.live.map(\.header.facts.key) == [objects[2].facts.key])
    #expect(report.totals.deadRecords == 2)
  }

  @Test(
    "a former life of a file is not seen, however whole its records are",
    arguments: [(77, 5), (77, 0xABCD_0001), (1, 5)] as [(UInt64, UInt64)])
  func formerLife(incarnation: UInt64, nonce: UInt64) throws {
    var log = LogBuilder()
    let (name, _) = log.segment([try LogBuilder.object("a"), try LogBuilder.object("b")])
    let header = SegmentHeader(
      incarnation: incarnation, nonce: nonce, segmentBytes: LogBuilder.segmentBytes,
      directoryID: log.id, openedAtMilliseconds: 0)
    log.storage[name].put(written(4096) { header.write(to: $0) }, at: 0)
    let report = try log.check()
    #expect(report.findings.isEmpty && report.notes.isEmpty)
    #expect(report.totals.unsealedSegments == 1)
    #expect(report.totals.records == 0)
    #expect(report.unsealed.isEmpty)
  }

  @Test("a record that was not written to its end is torn, not damaged, and what follows counts")
  func torn() throws {
    var log = LogBuilder()
    let objects = [try LogBuilder.object("a"), try LogBuilder.object("b")]
    let (name, records) = log.segment(objects, sealed: false)
    log.storage[name].flip(records[0].blockIndex * 4096 + 600)
    let report = try log.check(readsPayloads: false)
    #expect(report.findings.isEmpty)
    #expect(report.totals.tornRecords == 1)
    #expect(report.live.map(\.header.sequence) == [2])
  }

  @Test("a directory without superblock, or of a newer format, cannot be checked")
  func unusable() throws {
    let log = LogBuilder()
    log.storage["superblock"].bytes[4] = 2
    #expect(
      throws: CheckFault.format(
        FieldFault("formatVersion", value: 2, limit: 1, "unknown version"))
    ) { try log.check() }
    log.storage["superblock"].bytes[4] = 1
    log.storage["superblock"].flip(100)
    #expect(throws: CheckFault.self) { try log.check() }
    log.storage.files["superblock"] = nil
    #expect(throws: CheckFault.notOurs) { try log.check() }
    log.storage.create("superblock", byteCount: 4096)
    log.storage["superblock"].badBlocks = [0]
    #expect(throws: CheckFault.device(DiskError(call: "pread", file: "superblock", code: 5))) {
      try log.check()
    }
  }
}
