internal import Glibc

/// One work on its way through a ring; the ring's thread owns it once it was submitted.
// Safe because: it is handed over behind a lock and then used by the ring's thread alone.
final class UringTransfer: @unchecked Sendable {
  /// What it does, and with which memory.
  enum Action {
    /// Fill this.
    case read(IOVector)
    /// Empty this.
    case write(IOVector)
    /// Make durable what was written.
    case synchronise
  }

  /// What comes next.
  enum Step {
    /// There is more to do.
    case again
    /// It is over.
    case done(Result<Void, DiskError>)
  }

  /// What it does.
  let action: Action
  /// The file, kept open.
  let file: any BlockFile
  /// Where in the file what is left starts.
  private(set) var offset: Int
  /// Whether a thread of the kernel may wait for it.
  private(set) var mayWait = false
  private let completion: @Sendable (Result<Void, DiskError>) -> Void

  /// Notes what to do, and whom to tell.
  init(
    _ action: Action, _ file: any BlockFile, at offset: Int = 0,
    completion: @escaping @Sendable (Result<Void, DiskError>) -> Void
  ) {
    self.action = action
    self.file = file
    self.offset = offset
    self.completion = completion
  }

  /// Why it cannot even be started.
  func refusal() -> DiskError? {
    guard case .write(let vector) = action else { return nil }
    do throws(DiskError) {
      try file.checkRoom(at: offset, for: vector)
      return nil
    } catch {
      return error
    }
  }

  /// Takes in what the kernel says: bytes done, or an errno below 0.
  func take(_ result: Int32) -> Step {
    guard result >= 0 else { return failed(-result) }
    switch action {
    case .synchronise: return .done(.success(()))
    case .read(let vector), .write(let vector):
      do throws(DiskError) {
        try vector.advance(byKernelCount: Int(result), call, file.name)
      } catch {
        return .done(.failure(error))
      }
      offset += Int(result)
      return vector.byteCount == 0 ? .done(.success(())) : .again
    }
  }

  /// Tells who asked.
  func complete(_ result: Result<Void, DiskError>) { completion(result) }

  private var call: String {
    switch action {
    case .read: "pread"
    case .write: "pwrite"
    case .synchronise: "fdatasync"
    }
  }

  private func failed(_ code: Int32) -> Step {
    if code == EINTR { return .again }
    // The device has no room for a work that must not wait: let it wait.
    if code == EAGAIN, !mayWait {
      mayWait = true
      return .again
    }
    return .done(.failure(DiskError(call: call, file: file.name, code: code)))
  }
}
