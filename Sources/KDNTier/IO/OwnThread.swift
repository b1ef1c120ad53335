internal import CPlatform
internal import Glibc
internal import KDNCore

/// A thread of the kernel that runs one function; it lives on alone if nobody joins it.
final class OwnThread: Sendable {
  private let thread: pthread_t
  private let isJoined = Guarded(false)

  /// Starts a thread that shows as `name`, of which 15 bytes count.
  ///
  /// - Throws: if the kernel gives none.
  init(name: String, _ body: @escaping @Sendable () -> Void) throws(DiskError) {
    let start = unsafe Unmanaged.passRetained(ThreadStart(name: name, body: body))
    var made = pthread_t()
    let code = unsafe pthread_create(
      &made, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        let start = unsafe Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
        unsafe kdn_name_thread(start.name)
        start.body()
        return nil
      }, start.toOpaque())
    guard code == 0 else {
      unsafe start.release()
      throw DiskError(call: "pthread_create", file: name, code: code)
    }
    thread = made
  }

  /// Waits for the end of the thread, which must be another one; once.
  func join() {
    precondition(pthread_equal(thread, pthread_self()) == 0, "a thread cannot wait for itself")
    let isFirst = isJoined.withLock { isJoined in
      defer { isJoined = true }
      return !isJoined
    }
    precondition(isFirst, "a thread is joined once")
    let code = pthread_join(thread, nil)
    precondition(code == 0, "pthread_join: errno \(code)")
  }

  deinit {
    if !isJoined.withLock({ $0 }) { pthread_detach(thread) }
  }
}

private final class ThreadStart: Sendable {
  let name: String
  let body: @Sendable () -> Void

  init(name: String, body: @escaping @Sendable () -> Void) {
    self.name = name
    self.body = body
  }
}

/// Counts tickets that threads wait for.
// Safe because: the kernel's semaphore is made for many threads, and stays at its place.
@safe final class CountingSemaphore: @unchecked Sendable {
  private let semaphore: UnsafeMutablePointer<sem_t>

  /// Starts without a ticket.
  init() {
    unsafe semaphore = .allocate(capacity: 1)
    let result = unsafe sem_init(semaphore, 0, 0)
    precondition(result == 0, "sem_init: errno \(errno)")
  }

  deinit {
    _ = unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
  }

  /// Adds a ticket.
  func signal() {
    let result = unsafe sem_post(semaphore)
    precondition(result == 0, "sem_post: errno \(errno)")
  }

  /// Takes a ticket, waiting for one.
  func wait() {
    while unsafe sem_wait(semaphore) != 0 {
      precondition(errno == EINTR, "sem_wait: errno \(errno)")
    }
  }
}
