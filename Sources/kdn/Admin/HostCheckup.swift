internal import KDNCore

/// What to think of a machine; pure, so that tests play the machine.
struct HostCheckup {
  private static let kernelWanted = (major: 5, minor: 10)
  private static let openFilesWanted: UInt64 = 65_536
  private static let backlogWanted = 1024

  let facts: HostFacts
  /// Memory that the daemon was given; nil if no daemon said so.
  let cacheBytes: Int?

  /// Everything that was looked at.
  var findings: [Finding] {
    [
      kernel, openFiles, lockedMemory, memory, swap, hugePages, nodes, overcommit, uring, backlog,
      clock,
    ]
  }

  private var kernel: Finding {
    let numbers = facts.kernel.split(separator: ".").prefix(2).map {
      Int($0.prefix(while: \.isNumber)) ?? 0
    }
    let wanted = Self.kernelWanted
    guard numbers.count == 2, (numbers[0], numbers[1]) >= (wanted.major, wanted.minor) else {
      return .warning(
        "kernel", "Linux \(facts.kernel)",
        remedy: "kdnd is tested on \(wanted.major).\(wanted.minor) and later")
    }
    return .ok("kernel", "Linux \(facts.kernel)")
  }

  private var openFiles: Finding {
    let found = "limit of \(facts.limitsOwner): \(facts.openFilesMax)"
    guard facts.openFilesMax < Self.openFilesWanted else { return .ok("open files", found) }
    return .warning(
      "open files", found,
      remedy: "each connection and slab takes one: LimitNOFILE=\(Self.openFilesWanted) in the unit")
  }

  private var lockedMemory: Finding {
    let owner = "limit of \(facts.limitsOwner)"
    guard facts.lockedBytesMax != UInt64.max else { return .ok("locked memory", "\(owner): none") }
    let found = "\(owner): \(Text.bytes(facts.lockedBytesMax))"
    let wanted = UInt64(cacheBytes ?? facts.memoryBytes / 2)
    guard facts.lockedBytesMax < wanted else { return .ok("locked memory", found) }
    return .warning(
      "locked memory", found,
      remedy: "LimitMEMLOCK=infinity in the unit, or the cache may be swapped out")
  }

  private var memory: Finding {
    let total = min(facts.memoryBytes, facts.groupBytesMax ?? .max)
    let found = "\(Text.bytes(total)), \(Text.bytes(facts.availableBytes)) available"
    guard let cacheBytes, cacheBytes > total / 10 * 9 else { return .ok("memory", found) }
    return .error(
      "memory", "\(found), the cache may take \(Text.bytes(cacheBytes))",
      remedy: "set 'ram' to at most nine tenths of the machine's or the control group's memory")
  }

  private var swap: Finding {
    guard facts.swapUsedBytes > 64 << 20 else { return .ok("swap", "not in use") }
    return .warning(
      "swap", "\(Text.bytes(facts.swapUsedBytes)) in use",
      remedy: "lower 'ram' or turn swap off: a cache that is swapped out is slower than a disk")
  }

  private var hugePages: Finding {
    if facts.hugePages > 0 { return .ok("huge pages", "\(facts.hugePages) reserved") }
    guard facts.transparentHugePages == "never" else {
      return .ok("huge pages", "transparent: \(facts.transparentHugePages)")
    }
    return .warning(
      "huge pages", "none reserved, transparent ones off",
      remedy: "vm.nr_hugepages = 'ram' / 2 MiB, or transparent_hugepage=madvise")
  }

  private var nodes: Finding {
    guard facts.numaNodes > 1 else { return .ok("NUMA", "one node") }
    return .ok("NUMA", "\(facts.numaNodes) nodes; slabs are spread over them unless numa: off")
  }

  private var overcommit: Finding {
    guard facts.overcommit == 2 else { return .ok("overcommit", "mode \(facts.overcommit)") }
    return .warning(
      "overcommit", "mode 2: the kernel promises no more than it has",
      remedy: "leave room for 'ram' in vm.overcommit_ratio, or set vm.overcommit_memory = 0")
  }

  private var uring: Finding {
    switch facts.uringDisabled {
    case nil: .ok("io_uring", "the kernel sets no limit")
    case 0: .ok("io_uring", "allowed")
    case let mode:
      .warning(
        "io_uring", "kernel.io_uring_disabled = \(mode ?? 0)",
        remedy: "set it to 0, or let disks be read by threads, which cost more CPU")
    }
  }

  private var backlog: Finding {
    let found = "net.core.somaxconn = \(facts.backlogMax)"
    guard facts.backlogMax < Self.backlogWanted else { return .ok("backlog", found) }
    return .warning(
      "backlog", found, remedy: "raise it to \(Self.backlogWanted), so that bursts of clients wait")
  }

  private var clock: Finding {
    guard facts.isClockSynchronised else {
      return .warning(
        "clock", "not synchronised",
        remedy: "run chrony or systemd-timesyncd: TTLs, pins and tokens end by the wall clock")
    }
    return .ok("clock", "synchronised")
  }
}
