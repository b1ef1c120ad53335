import Foundation
import TestPrograms
import Testing

/// What the kernel holds for all users of all devices, and how many files this process has open.
struct FabricHoldings: Equatable, CustomStringConvertible {
  /// Numbers of queue pairs, completion queues, regions, domains and so on, by their short names.
  let counts: [String: Int]
  let files: Int

  /// Asks the kernel; it does not tell reliably which process has what, only which thread made it.
  init() throws {
    let pipe = Pipe()
    let rdma = try Program(
      ["rdma", "-j", "resource", "show"], output: pipe.fileHandleForWriting.fileDescriptor)
    try pipe.fileHandleForWriting.close()
    let text = pipe.fileHandleForReading.readDataToEndOfFile()
    #expect(rdma.wait() == 0)
    var counts: [String: Int] = [:]
    let devices = try JSONSerialization.jsonObject(with: text) as? [[String: Any]] ?? []
    #expect(!devices.isEmpty)
    for device in devices {
      for case (let kind, let count as Int) in device where kind != "ifindex" {
        counts[kind, default: 0] += count
      }
    }
    self.counts = counts
    files = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
  }

  subscript(kind: String) -> Int { counts[kind] ?? 0 }

  /// Whether nothing has been added since; servers of tests before may still be closing files.
  func addNothing(to before: FabricHoldings) -> Bool {
    counts == before.counts && files <= before.files
  }

  var description: String {
    "\(counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }), \(files) files"
  }
}
