internal import CPlatform
internal import DequeModule
internal import Glibc
internal import KDNCore

/// Threads of their own that do jobs in the order they came, each of which may block.
///
/// Not Dispatch's: its pool is shared, and starves when its threads wait for a device.
final class Workers: Sendable {
  private let jobs = JobQueue()
  private let threads = Guarded<[OwnThread]>([])

  /// Starts `count` threads that show as `name`, of which 15 bytes count; `niceness` above 0 lets
  /// others have the CPU first.
  ///
  /// - Throws: if the kernel gives no thread.
  init(count: Int, name: String, niceness: Int32 = 0) throws(DiskError) {
    precondition(count > 0, "work needs a worker")
    for _ in 0..<count {
      do throws(DiskError) {
        let thread = try OwnThread(name: name) { [jobs] in
          // Of no matter if the kernel will not: it is a wish.
          if niceness > 0 {
            _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, niceness)
          }
          while let job = jobs.next() { job() }
        }
        threads.withLock { $0.append(thread) }
      } catch {
        end()
        throw error
      }
    }
  }

  /// Puts a job at the end of the queue, which the caller bounds; traps after `end`.
  func submit(_ job: @escaping @Sendable () -> Void) { jobs.append(job) }

  /// Waits for all jobs and ends the threads; not for a thread of this to call.
  func end() {
    let ended = threads.withLock { threads in
      defer { threads = [] }
      return threads
    }
    guard !ended.isEmpty else { return }
    jobs.end(workers: ended.count)
    for thread in ended { thread.join() }
  }

  deinit {
    // Perhaps on one of the threads, which cannot wait for itself: they end alone.
    let left = threads.withLock { $0.count }
    if left > 0 { jobs.end(workers: left) }
  }
}

/// Jobs in the order they came.
private final class JobQueue: Sendable {
  private struct State {
    var waiting: Deque<@Sendable () -> Void> = []
    var isEnding = false
  }

  private let state = Guarded(State())
  private let tickets = CountingSemaphore()

  func append(_ job: @escaping @Sendable () -> Void) {
    let isTaken = state.withLock { state in
      guard !state.isEnding else { return false }
      state.waiting.append(job)
      return true
    }
    precondition(isTaken, "work for an engine that was shut down")
    tickets.signal()
  }

  /// Lets the workers go once all jobs are taken.
  func end(workers: Int) {
    state.withLock { $0.isEnding = true }
    for _ in 0..<workers { tickets.signal() }
  }

  /// Waits for the next job; nil if there will be none.
  func next() -> (@Sendable () -> Void)? {
    // One ticket for each job and one for each worker's end, so none waits in vain.
    tickets.wait()
    return state.withLock { $0.waiting.popFirst() }
  }
}
