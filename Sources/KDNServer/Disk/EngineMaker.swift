internal import KDNTier
internal import Logging

/// Makes the engine of one directory; tests give one that they can hold up.
typealias EngineMaker =
  @Sendable (_ disk: DiskSettings, _ path: String, _ log: Logger) throws(DiskError)
  -> any DiskEngine

/// Makes the engine that the configuration asks for.
func makeDiskEngine(
  _ disk: DiskSettings, path: String, log: Logger
) throws(DiskError) -> any DiskEngine {
  switch disk.engine {
  case .threads: return try makeThreads(disk)
  case .uring: return try makeUring(disk)
  case .auto:
    do throws(DiskError) {
      return try makeUring(disk)
    } catch {
      log.info(
        "io_uring is not to be had, using threads",
        metadata: ["directory": "\(path)", "error": "\(error)"])
      return try makeThreads(disk)
    }
  }
}

private func makeThreads(_ disk: DiskSettings) throws(DiskError) -> any DiskEngine {
  try ThreadEngine(readers: disk.depth, writers: disk.depth)
}

/// Tries io_uring first: some kernels and sandboxes have the calls and refuse them.
private func makeUring(_ disk: DiskSettings) throws(DiskError) -> any DiskEngine {
  try UringEngine.probe()
  return try UringEngine(places: UringPlaces(reads: disk.depth, writes: disk.depth))
}
