/// Threads that do work nobody waits for, or that must not keep a serving thread.
package final class BackgroundThreads: Sendable {
  /// The priority of threads that run only where nobody else would.
  package static let lowestPriority: Int32 = 19
  private let workers: Workers

  /// Starts `count` threads that show as `name`, of which 15 bytes count, and that have the CPU
  /// after others if `niceness` is above 0.
  ///
  /// - Throws: if the kernel gives no thread.
  package init(count: Int, name: String, niceness: Int32 = 0) throws(DiskError) {
    workers = try Workers(count: count, name: name, niceness: niceness)
  }

  /// Does `work` on one of the threads, after what came before; the caller bounds how much waits.
  package func run(_ work: @escaping @Sendable () -> Void) { workers.submit(work) }

  /// Waits for all work and ends the threads; not for one of them to call.
  package func end() { workers.end() }
}
