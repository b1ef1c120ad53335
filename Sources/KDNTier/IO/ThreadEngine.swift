/// Does I/O with blocking calls on threads of its own: works wherever files do.
///
/// Reads, writes and everything else have threads each, so none waits behind another kind. The
/// completion is called on the thread that did the work and keeps it from the next one; it may come
/// while `submit` is still returning, but never inside that call.
package final class ThreadEngine: DiskEngine {
  package let name = "threads"
  private let readers: Workers
  private let writers: Workers
  private let others: Workers

  /// Starts the threads; `label` shows in their names.
  ///
  /// - Throws: if the kernel gives no thread.
  package init(
    readers: Int = 8, writers: Int = 8, others: Int = 2, label: String = "disk"
  ) throws(DiskError) {
    self.readers = try Workers(count: readers, name: "\(label)-read")
    self.writers = try Workers(count: writers, name: "\(label)-write")
    self.others = try Workers(count: others, name: "\(label)-sync")
  }

  package func submit(
    _ work: DiskWork, completion: @escaping @Sendable (Result<Void, DiskError>) -> Void
  ) {
    workers(for: work).submit { completion(work.perform()) }
  }

  package func shutDown() {
    readers.end()
    writers.end()
    others.end()
  }

  private func workers(for work: DiskWork) -> Workers {
    switch work {
    case .read: readers
    case .write: writers
    case .synchronise, .run: others
    }
  }
}

extension DiskWork {
  /// Does the work on this thread, which waits for it.
  func perform() -> Result<Void, DiskError> {
    do throws(DiskError) {
      switch self {
      case .read(let file, at: let offset, into: let pieces):
        try file.read(at: offset, into: pieces)
      case .write(let file, at: let offset, from: let pieces):
        try file.write(at: offset, from: pieces)
      case .synchronise(let file): try file.synchronise()
      case .run(let body): try body()
      }
      return .success(())
    } catch {
      return .failure(error)
    }
  }
}
