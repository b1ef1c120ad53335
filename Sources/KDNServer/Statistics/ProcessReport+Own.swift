internal import FoundationEssentials
internal import Glibc
internal import KDNControl

extension ProcessReport {
  /// What this process has used until now, as the kernel tells it.
  static func own() -> ProcessReport {
    var usage = rusage()
    unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    var files = rlimit()
    unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
    let text = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let status = ProcessStatus(text: text ?? "")
    return ProcessReport(
      pid: getpid(), cpuSeconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
      residentBytes: status.residentBytes, residentBytesMax: usage.ru_maxrss << 10,
      openFiles: openFiles(), openFilesMax: Int(clamping: files.rlim_cur),
      threads: status.threads)
  }

  private static func seconds(_ time: timeval) -> Double {
    Double(time.tv_sec) + Double(time.tv_usec) / 1e6
  }

  /// Since Linux 6.2 the size of the directory is the number of open files; before, they are
  /// counted.
  private static func openFiles() -> Int {
    var facts = stat()
    let isKnown = unsafe stat("/proc/self/fd", &facts) == 0
    if isKnown, facts.st_size > 0 { return facts.st_size }
    return (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0
  }
}

/// What `/proc/self/status` tells; 0 for what it does not.
struct ProcessStatus {
  private(set) var residentBytes = 0
  private(set) var threads = 0

  init(text: String) {
    for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
      if line.starts(with: "VmRSS:".utf8) { residentBytes = Self.number(in: line) << 10 }
      if line.starts(with: "Threads:".utf8) { threads = Self.number(in: line) }
    }
  }

  /// The digits of a line as a number.
  private static func number(in line: Substring.UTF8View.SubSequence) -> Int {
    line.reduce(0) { sum, byte in
      (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        ? sum * 10 + Int(byte - UInt8(ascii: "0")) : sum
    }
  }
}
