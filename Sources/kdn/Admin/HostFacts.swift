internal import CPlatform
internal import FoundationEssentials

/// What the machine is like, as far as a daemon cares.
struct HostFacts {
  var kernel = ""
  /// Whose limits these are.
  var limitsOwner = "this shell"
  /// Limits that a process has, or can give itself; `UInt64.max` for none.
  var openFilesMax: UInt64 = 0
  var lockedBytesMax: UInt64 = 0
  var memoryBytes = 0
  var availableBytes = 0
  var swapUsedBytes = 0
  /// Largest memory of the control group; nil without a limit.
  var groupBytesMax: Int?
  var hugePages = 0
  var transparentHugePages = ""
  var numaNodes = 0
  var overcommit = 0
  /// 0 allowed, 1 for a group, 2 for nobody; nil if the kernel does not say.
  var uringDisabled: Int?
  var backlogMax = 0
  var isClockSynchronised = false

  /// Looks at the machine this runs on; `daemonPID`: a daemon that may run here, too.
  static func current(daemonPID: Int32?) -> HostFacts {
    var facts = HostFacts()
    facts.kernel = text("/proc/sys/kernel/osrelease")
    facts.takeLimits(daemonPID)
    let memory = memoryTable()
    facts.memoryBytes = memory["MemTotal"] ?? 0
    facts.availableBytes = memory["MemAvailable"] ?? 0
    facts.swapUsedBytes = (memory["SwapTotal"] ?? 0) - (memory["SwapFree"] ?? 0)
    // A count, which the table takes for kibibytes.
    facts.hugePages = (memory["HugePages_Total"] ?? 0) / 1024
    facts.groupBytesMax = Int(text("/sys/fs/cgroup/memory.max"))
    facts.transparentHugePages = selected(text("/sys/kernel/mm/transparent_hugepage/enabled"))
    let nodes = try? FileManager.default.contentsOfDirectory(atPath: "/sys/devices/system/node")
    facts.numaNodes = nodes?.count { $0.hasPrefix("node") && Int($0.dropFirst(4)) != nil } ?? 0
    facts.overcommit = Int(text("/proc/sys/vm/overcommit_memory")) ?? 0
    facts.uringDisabled = Int(text("/proc/sys/kernel/io_uring_disabled"))
    facts.backlogMax = Int(text("/proc/sys/net/core/somaxconn")) ?? 0
    facts.isClockSynchronised = kdn_is_clock_synchronised() != 0
    return facts
  }

  private static func text(_ path: String) -> String {
    let whole = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    return String(whole.prefix { !$0.isNewline })
  }

  /// The word in brackets.
  private static func selected(_ text: String) -> String {
    String(text.drop { $0 != "[" }.dropFirst().prefix { $0 != "]" })
  }

  private static func memoryTable() -> [String: Int] {
    let whole = (try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8)) ?? ""
    var table: [String: Int] = [:]
    for line in whole.split(separator: "\n") {
      let words = line.split(whereSeparator: { $0 == " " || $0 == ":" })
      guard words.count >= 2, let number = Int(words[1]) else { continue }
      table[String(words[0])] = number * 1024
    }
    return table
  }

  /// The daemon's limits if it runs here, else those that a daemon would get from this shell.
  private mutating func takeLimits(_ daemonPID: Int32?) {
    var process = "self"
    if let daemonPID, Self.text("/proc/\(daemonPID)/comm") == "kdnd" {
      limitsOwner = "kdnd"
      process = "\(daemonPID)"
    }
    let table = LimitTable(
      text: (try? String(contentsOfFile: "/proc/\(process)/limits", encoding: .utf8)) ?? "")
    openFilesMax = table.hardLimit("Max open files") ?? 0
    lockedBytesMax = table.hardLimit("Max locked memory") ?? 0
  }
}

/// What `/proc/PID/limits` tells.
struct LimitTable {
  let text: String

  /// The hard limit in the row of that name; `UInt64.max` for none, nil without such a row.
  func hardLimit(_ name: String) -> UInt64? {
    guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(name) }) else {
      return nil
    }
    let words = line.dropFirst(name.count).split(separator: " ")
    guard words.count >= 2 else { return nil }
    return words[1] == "unlimited" ? .max : UInt64(words[1])
  }
}
