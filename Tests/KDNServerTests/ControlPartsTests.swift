import Foundation
import KDNControl
import KDNCore
import KDNTier
import Logging
import Testing

@testable import KDNServer

@Suite("The events of a daemon")
struct EventLogTests {
  private func ring(_ count: Int, countMax: Int) -> EventRing {
    var ring = EventRing(countMax: countMax)
    for number in 0..<count {
      ring.append(.purged, by: "ops", "\(number)", unixMilliseconds: UInt64(number))
    }
    return ring
  }

  @Test("count up from 1 and are told from the one behind the serial asked for")
  func serials() {
    let ring = ring(5, countMax: 8)
    #expect(ring.events(after: 0, limit: 10).map(\.serial) == [1, 2, 3, 4, 5])
    #expect(ring.events(after: 3, limit: 10).map(\.serial) == [4, 5])
    #expect(ring.events(after: 0, limit: 2).map(\.serial) == [1, 2])
    #expect(ring.events(after: 5, limit: 2).isEmpty)
    #expect(ring.events(after: .max, limit: 2).isEmpty)
    #expect(ring.events(after: 0, limit: 0).isEmpty)
    #expect(ring.events(after: 0, limit: -1).isEmpty)
  }

  @Test("are empty at first")
  func empty() {
    let ring = ring(0, countMax: 8)
    #expect(ring.events(after: 0, limit: 10).isEmpty && ring.newest == 0)
  }

  @Test("forget the oldest beyond their number", arguments: [3, 4, 5, 9, 100])
  func forgets(count: Int) {
    let ring = ring(count, countMax: 3)
    let last = UInt64(count)
    #expect(ring.events(after: 0, limit: 10).map(\.serial) == [last - 2, last - 1, last])
    #expect(ring.events(after: 0, limit: 10).map(\.text).last == "\(count - 1)")
    #expect(ring.events(after: last - 1, limit: 10).map(\.serial) == [last])
  }

  @Test("never hold more text than their limit, and whole characters of it")
  func cut() {
    var ring = EventRing(countMax: 2)
    for text in ["x" + String(repeating: "é", count: 400), String(repeating: "a", count: 512)] {
      ring.append(.started, by: "", text, unixMilliseconds: 0)
    }
    let texts = ring.events(after: 0, limit: 2).map(\.text)
    #expect(texts[0].utf8.count <= EventRing.textBytesMax && texts[0].hasSuffix("é…"))
    #expect(texts[1].utf8.count == 512)
  }

  @Test("come from many threads at once without a gap")
  func threads() async {
    let log = EventLog(wallClock: ManualWallClock(milliseconds: 7))
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask { for number in 0..<100 { log.append(.purged, "\(number)") } }
      }
    }
    #expect(log.counts.total == 800 && log.counts.newest == 800)
    #expect(log.events(after: 0, limit: 2000).map(\.serial) == Array(1...800))
    #expect(log.events(after: 0, limit: 1)[0].unixMilliseconds == 7)
  }

  @Test("of the disk tell an operator of trouble, the same trouble once a second")
  func disk() {
    let clock = ManualClock()
    let events = EventLog()
    let log = DiskLog(log: .silent, clock: clock, events: events)
    for _ in 0..<3 { log.report(.journalFull(path: "/a")) }
    log.report(.distrusted(path: "/a"))
    log.report(.journalFull(path: "/b"))
    clock.advance(milliseconds: 1000)
    log.report(.journalFull(path: "/a"))
    log.report(.recovered(path: "/a", objects: 2, dropped: 1, milliseconds: 3))
    let told = events.events(after: 0, limit: 10)
    #expect(told.map(\.kind) == Array(repeating: "disk_fault", count: 4) + ["recovered"])
    #expect(told[0].text == "/a: the journal is full")
    #expect(told[4].text == "/a: 2 objects found in 3 ms, 1 dropped")
  }
}

@Suite("Names in hexadecimal")
struct HexadecimalNamesTests {
  private func hashes(_ texts: [String]) -> Result<[ChunkHash], ControlFault> {
    Result { () throws(ControlFault) in
      try HexadecimalNames.hashes(texts, field: "hashes", countMax: 3)
    }
  }

  private func fault(_ texts: [String]) -> ControlFault? {
    if case .failure(let fault) = hashes(texts) { fault } else { nil }
  }

  @Test("are read as they are written, in either case, each once")
  func reads() throws {
    let hash = HashChain.opaque([1])
    let text = "\(hash)"
    let other = HashChain.opaque([2])
    #expect(try hashes([text, text.uppercased(), "\(other)"]).get() == [hash, other])
    let layout = LayoutID(ofCanonicalEncoding: [1])
    let read = try HexadecimalNames.layouts(["\(layout)"], field: "layouts", countMax: 1)
    #expect(read == [layout])
  }

  @Test(
    "of another form are refused, and the entry is named",
    arguments: [
      "", "00", String(repeating: "0", count: 63), String(repeating: "0", count: 65),
      String(repeating: "g", count: 64), String(repeating: "é", count: 32),
      "+" + String(repeating: "0", count: 63), String(repeating: "0", count: 62) + "\u{0}0",
    ])
  func refused(text: String) {
    let good = String(repeating: "0", count: 64)
    #expect(fault([good, text])?.field == "hashes[1]")
    #expect(fault([good, text])?.code == .badRequest)
  }

  @Test("are at least one and at most as many as a request may name", arguments: [0, 4])
  func count(count: Int) {
    #expect(fault(Array(repeating: String(repeating: "0", count: 64), count: count)) != nil)
  }
}

@Suite("What the kernel tells of the process")
struct ProcessReportTests {
  @Test("is read from its lines, whatever else stands there")
  func lines() {
    let status = ProcessStatus(
      text: "Name:\tkdnd\nVmHWM:\t 9 kB\nVmRSS:\t    1234 kB\nThreads:\t7\nVmRSSx: 5\n")
    #expect(status.residentBytes == 1234 << 10 && status.threads == 7)
    let none = ProcessStatus(text: "")
    #expect(none.residentBytes == 0 && none.threads == 0)
  }

  @Test("of this process is true")
  func own() {
    let report = ProcessReport.own()
    #expect(report.pid == getpid() && report.threads >= 1 && report.cpuSeconds > 0)
    #expect(report.residentBytes > 1 << 20)
    #expect(report.residentBytesMax >= report.residentBytes / 2)
    #expect((3...report.openFilesMax).contains(report.openFiles))
  }
}
