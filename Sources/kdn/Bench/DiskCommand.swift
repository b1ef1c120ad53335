internal import ArgumentParser
internal import KDNCore
internal import KDNTier

/// `kdn bench disk`: the disk tier by itself, in this process, as fio measures a disk.
struct DiskCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "disk",
    abstract: "Measures writing and reading of objects by the disk tier in a directory.",
    discussion: """
      Runs the daemon's segment log and engine in this process; no daemon is asked. --size bytes \
      of objects are written, --depth at once, and made durable; then all are read back, each \
      checked against its checksum. The directory must be new or empty and is left as it is.
      """)

  @Option(help: "The directory; it is made if it is missing.")
  var directory: String
  @Option(help: "Bytes of an object.")
  var object = "4MiB"
  @Option(help: "Bytes of all objects.")
  var size = "4GiB"
  @Option(help: "Bytes of a segment.")
  var segment = "256MiB"
  @Option(help: "Objects under way at once.")
  var depth = 8
  @Option(help: "auto, io_uring or threads.")
  var engine = "auto"
  // `kdn bench` takes these too, and hands them on only as the same group. No daemon is asked.
  @OptionGroup(visibility: .hidden) var common: CommonOptions

  func answer() throws -> Bool {
    let bench = try DiskBench(
      directory: directory, objectBytes: bytes(object, "object"), totalBytes: bytes(size, "size"),
      segmentBytes: bytes(segment, "segment"), depth: depth, engine: wish())
    let lines = try bench.run()
    for line in lines {
      if common.json { try Output.line(line) } else { Output.line(line.text) }
    }
    return true
  }

  private func bytes(_ text: String, _ field: String) throws -> Int {
    let count = try ByteCount(parsing: text, field: field).bytes
    guard count > 0 else { throw ValidationError("\(field) must not be 0") }
    return count
  }

  private func wish() throws -> DiskEngineWish {
    guard let wish = DiskEngineWish(rawValue: engine) else {
      throw ValidationError("engine must be auto, io_uring or threads, not '\(engine)'")
    }
    return wish
  }
}
