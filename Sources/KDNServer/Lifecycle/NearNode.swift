internal import FoundationEssentials

/// Where on the machine this process runs.
enum NearNode {
  /// Position of the processor behind the name in the kernel's line about a process.
  private static let processorField = 36

  /// The NUMA node of the processor that the process ran on last; nil where the kernel tells none.
  static func current() -> Int? {
    guard let line = try? String(contentsOfFile: "/proc/self/stat", encoding: .utf8),
      let processor = processor(inStat: line)
    else { return nil }
    let path = "/sys/devices/system/cpu/cpu\(processor)"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    return names.lazy.filter { $0.hasPrefix("node") }.compactMap { Int($0.dropFirst(4)) }.first
  }

  /// The processor in a line of `/proc/PID/stat`; the name before may have blanks and brackets.
  static func processor(inStat line: String) -> Int? {
    guard let end = line.lastIndex(of: ")") else { return nil }
    let fields = line[line.index(after: end)...].split(separator: " ")
    return fields.count > processorField ? Int(fields[processorField]) : nil
  }
}
