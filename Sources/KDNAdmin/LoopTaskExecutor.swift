internal import NIOCore

/// Runs tasks on the thread of an event loop, so that the endpoint answers whatever keeps the
/// threads that all other tasks of the process share.
final class LoopTaskExecutor: TaskExecutor {
  private let loop: any EventLoop

  /// Runs tasks on `loop`.
  init(_ loop: any EventLoop) {
    self.loop = loop
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    loop.execute { unsafe unowned.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}
