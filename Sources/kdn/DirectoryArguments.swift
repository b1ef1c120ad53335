internal import ArgumentParser
internal import Glibc
internal import KDNCore
internal import KDNTier

/// What commands take that look into a directory of the disk tier, without a daemon.
struct DirectoryArguments: ParsableArguments {
  @Argument(help: "The directory, as in the daemon's setting disk.")
  var directory: String
  @Flag(help: "Write JSON.")
  var json = false

  /// Locks the directory against daemons and checks it; nothing is changed.
  ///
  /// - Throws: what says that the directory is in use, and by whom, or is none of ours.
  func check(readsPayloads: Bool) throws -> CheckReport {
    try check(open(), readsPayloads: readsPayloads)
  }

  /// Opens the directory and locks it; one without a lock was never in use.
  private func open() throws -> FileDirectory {
    do throws(DirectoryFault) {
      return try FileDirectory(readOnly: directory)
    } catch {
      if case .system(let cause) = error, cause.file == FileDirectory.lockName,
        cause.code == ENOENT
      {
        throw CheckFault.notOurs
      }
      throw error
    }
  }

  /// Checks an open directory.
  func check(_ storage: FileDirectory, readsPayloads: Bool) throws -> CheckReport {
    let display = ProgressDisplay("check")
    defer { display.end() }
    return try LogCheck.report(
      on: storage, readsPayloads: readsPayloads, nowMilliseconds: SystemWallClock().milliseconds()
    ) { done, total in display.show(done, of: total) }
  }
}

/// A finding, for programs.
struct FindingLine: Encodable {
  let file: String
  let block: Int?
  let problem: String
  let text: String

  init(_ finding: CheckFinding) {
    file = finding.file
    block = finding.block
    problem = finding.problem.name
    text = "\(finding.problem)"
  }
}
