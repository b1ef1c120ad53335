import Testing

@testable import kdn

@Suite struct HostCheckupTests {
  /// A machine that nothing is wrong with.
  private static var fit: HostFacts {
    var facts = HostFacts()
    facts.kernel = "6.1.0-32-amd64"
    facts.openFilesMax = 1 << 20
    facts.lockedBytesMax = .max
    facts.memoryBytes = 64 << 30
    facts.availableBytes = 60 << 30
    facts.transparentHugePages = "madvise"
    facts.numaNodes = 1
    facts.uringDisabled = 0
    facts.backlogMax = 4096
    facts.isClockSynchronised = true
    return facts
  }

  private static func findings(
    cacheBytes: Int? = 32 << 30, _ change: (inout HostFacts) -> Void = { _ in }
  ) -> [String: Finding.Severity] {
    var facts = fit
    change(&facts)
    let bad = HostCheckup(facts: facts, cacheBytes: cacheBytes).findings.filter {
      $0.severity != .ok
    }
    #expect(bad.allSatisfy { !$0.remedy.isEmpty }, "each says what to do")
    return Dictionary(uniqueKeysWithValues: bad.map { ($0.check, $0.severity) })
  }

  @Test("a fit machine has no findings, with and without a daemon")
  func nothing() {
    #expect(Self.findings() == [:])
    #expect(Self.findings(cacheBytes: nil) == [:])
  }

  @Test("each shortcoming is found, and no other", arguments: Shortcoming.all)
  func one(_ shortcoming: Shortcoming) {
    #expect(
      Self.findings(shortcoming.change) == [shortcoming.check: shortcoming.severity])
  }

  @Test("a lock limit counts against the memory that the daemon was given")
  func lockedMemory() {
    let change = { (facts: inout HostFacts) in facts.lockedBytesMax = 1 << 30 }
    #expect(Self.findings(cacheBytes: 1 << 30, change) == [:])
    #expect(Self.findings(cacheBytes: 1 << 31, change) == ["locked memory": .warning])
  }

  @Test("a control group's limit is what there is of memory")
  func controlGroup() {
    let found = Self.findings { $0.groupBytesMax = 33 << 30 }
    #expect(found == ["memory": .error])
  }

  @Test("the kernel's table of limits is read by its rows")
  func limits() {
    let table = LimitTable(
      text: """
        Limit                     Soft Limit           Hard Limit           Units
        Max open files            1024                 524288               files
        Max locked memory         8388608              unlimited            bytes
        """)
    #expect(table.hardLimit("Max open files") == 524_288)
    #expect(table.hardLimit("Max locked memory") == .max)
    #expect(table.hardLimit("Max nothing") == nil)
  }

  @Test("findings are wrapped to a terminal's width")
  func wrapping() {
    let long = String(repeating: "word ", count: 40)
    let finding = Finding.warning("check", long, remedy: long)
    let lines = DoctorCommand.lines(of: finding)
    #expect(lines.allSatisfy { $0.count <= 80 })
    #expect(lines.first?.hasPrefix("warn   check: word") == true)
    #expect(lines.contains { $0.hasPrefix("       -> word") })
  }
}

/// One thing that is wrong with a machine.
struct Shortcoming: Sendable, CustomTestStringConvertible {
  let check: String
  let severity: Finding.Severity
  let change: @Sendable (inout HostFacts) -> Void

  var testDescription: String { check }

  static let all = [
    Shortcoming(check: "kernel", severity: .warning) { $0.kernel = "5.4.0-generic" },
    Shortcoming(check: "kernel", severity: .warning) { $0.kernel = "" },
    Shortcoming(check: "open files", severity: .warning) { $0.openFilesMax = 1024 },
    Shortcoming(check: "swap", severity: .warning) { $0.swapUsedBytes = 1 << 30 },
    Shortcoming(check: "huge pages", severity: .warning) { $0.transparentHugePages = "never" },
    Shortcoming(check: "overcommit", severity: .warning) { $0.overcommit = 2 },
    Shortcoming(check: "io_uring", severity: .warning) { $0.uringDisabled = 2 },
    Shortcoming(check: "backlog", severity: .warning) { $0.backlogMax = 128 },
    Shortcoming(check: "clock", severity: .warning) { $0.isClockSynchronised = false },
    Shortcoming(check: "memory", severity: .error) { $0.memoryBytes = 33 << 30 },
  ]
}
