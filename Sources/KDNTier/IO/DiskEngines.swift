internal import Glibc

/// Which engine is asked for.
package enum DiskEngineWish: String, Sendable, CaseIterable {
  /// io_uring where it can be used, else threads.
  case auto
  /// io_uring or nothing.
  case uring = "io_uring"
  /// Threads.
  case threads
}

/// Chooses how the I/O of a directory is done.
package enum DiskEngines {
  /// Starts an engine; the reason is for the log.
  ///
  /// `memory` is where most I/O will go to and come from, as `UringEngine` registers it; `label`
  /// shows in the names of threads, of which 15 bytes count.
  /// - Throws: why there is none of the kind that was asked for.
  package static func choose(
    _ wish: DiskEngineWish, registering memory: RegisteredMemory = RegisteredMemory(),
    label: String = "disk"
  ) throws(DiskError) -> (engine: any DiskEngine, reason: String) {
    switch wish {
    case .threads:
      return (try ThreadEngine(label: label), "threads: as configured")
    case .uring:
      return try uring(memory, label, because: "as configured")
    case .auto:
      do throws(DiskError) {
        return try uring(memory, label, because: "it works here")
      } catch {
        let reason = unsafe String(cString: strerror(error.code))
        let cause = "io_uring cannot be used here (\(error.call): \(reason))"
        return (try ThreadEngine(label: label), "threads: \(cause)")
      }
    }
  }

  private static func uring(
    _ memory: RegisteredMemory, _ label: String, because cause: String
  ) throws(DiskError) -> (engine: any DiskEngine, reason: String) {
    try UringEngine.probe()
    let engine = try UringEngine(registering: memory, label: label)
    return (engine, "io_uring: \(cause)" + (engine.note.map { "; \($0)" } ?? ""))
  }
}

extension DiskEngine {
  /// Does `work` and waits for it; not for a completion to call.
  ///
  /// - Throws: what the work threw.
  package func wait(for work: DiskWork) throws(DiskError) {
    let outcome = DiskOutcome()
    submit(work) { outcome.tell($0) }
    try outcome.get()
  }
}
