internal import Glibc
internal import KDNCore

/// CPU time of processes on this machine.
enum ProcessTime {
  /// CPU seconds, user and system, that this process has used.
  static func own() -> Double {
    var usage = rusage()
    unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }

  /// CPU seconds that the process `pid` has used, in steps of the kernel's tick; nil if there is
  /// no such process.
  static func of(pid: Int32) -> Double? {
    guard let text = readFile("/proc/\(pid)/stat"), let name = text.lastIndex(of: ")") else {
      return nil
    }
    // Fields from the third on; utime and stime are the 14th and 15th of proc(5).
    let fields = text[text.index(after: name)...].split(separator: " ")
    guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12])
    else { return nil }
    return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  private static func seconds(_ time: timeval) -> Double {
    Double(time.tv_sec) + Double(time.tv_usec) / 1e6
  }

  private static func readFile(_ path: String) -> String? {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { _ = close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe read(descriptor, &bytes, bytes.count)
    return count > 0 ? String(decoding: bytes.prefix(count), as: UTF8.self) : nil
  }
}
