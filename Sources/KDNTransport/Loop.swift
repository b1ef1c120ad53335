internal import CPlatform
package import Dispatch
internal import Glibc
package import KDNCore

/// Runs an actor's jobs on a serial dispatch queue.
package final class QueueExecutor: SerialExecutor {
  /// The queue that is the executor.
  package let queue: DispatchQueue

  /// Creates an executor with a queue of its own.
  package init(label: String) {
    queue = DispatchQueue(label: label, qos: .userInitiated)
  }

  package func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    let executor = unsafe asUnownedSerialExecutor()
    queue.async { unsafe unowned.runSynchronously(on: executor) }
  }

  package func checkIsolated() {
    dispatchPrecondition(condition: .onQueue(queue))
  }
}

/// What a loop calls when a descriptor or a point in time is due.
package protocol LoopMember: AnyObject {
  /// The descriptor can be read, written, or both; errors show as both.
  func ready(readable: Bool, writable: Bool, on loop: isolated Loop)
  /// A tick: time-outs are looked at; the member says when it next wants one.
  func tick(now: Instant, on loop: isolated Loop) -> Instant
}

/// One event loop: a serial queue with its descriptors; a connection lives on one loop for life.
///
/// The loop keeps an epoll set of its own behind one dispatch source. When the source fires, the
/// handler works the set off, polls for a moment if that paid lately, and then *lingers* in
/// `epoll_wait` for a short while: under traffic a wake-up then costs what it costs any epoll
/// server, and not a second trip through Dispatch's manager thread; in quiet times the thread
/// goes back.
package actor Loop {
  /// How long the handler waits in `epoll_wait` for more work before it leaves its thread.
  private static let lingerMilliseconds: Int32 = 5
  /// Longest time between two ticks of a member.
  private static let tickMilliseconds: UInt64 = 500
  private static let wakeToken = UInt64.max
  private static let timerToken = UInt64.max - 1

  private let executor: QueueExecutor
  private let set: Descriptor
  private let timer: Descriptor
  private let mailbox: Mailbox
  private let clock: any MonotonicClock
  private let source: any DispatchSourceRead
  private var members: [UInt64: any LoopMember] = [:]
  private var nextToken: UInt64 = 1
  private var nextTick: Instant = .never
  private var isStopped = false
  private var spin = AdaptiveSpin()
  private let memory = ScratchMemory(byteCount: 256 << 10)

  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe executor.asUnownedSerialExecutor()
  }

  /// Creates a loop and starts it.
  ///
  /// - Throws: if the kernel gives no descriptor.
  package init(label: String, clock: any MonotonicClock = SystemClock()) throws(TransportError) {
    let set = try Descriptor("epoll_create1", kdn_epoll_create())
    let timer = try Descriptor("timerfd_create", kdn_timerfd())
    let mailbox = try Mailbox()
    try Self.add(mailbox.number, token: Self.wakeToken, to: set.number)
    try Self.add(timer.number, token: Self.timerToken, to: set.number)
    let setNumber = set.number
    executor = QueueExecutor(label: label)
    self.set = set
    self.timer = timer
    self.mailbox = mailbox
    self.clock = clock
    let source = DispatchSource.makeReadSource(fileDescriptor: setNumber, queue: executor.queue)
    self.source = source
    source.setEventHandler { @Sendable [weak self] in
      self?.assumeIsolated { $0.turn() }
    }
    source.activate()
  }

  private static func add(
    _ descriptor: Int32, token: UInt64, to set: Int32
  ) throws(TransportError) {
    guard kdn_epoll_control(set, EPOLL_CTL_ADD, descriptor, EPOLLIN.rawValue, token) == 0 else {
      throw TransportError("epoll_ctl", code: errno)
    }
  }

  /// Runs `work` on the loop soon; callable from any thread.
  package nonisolated func post(_ work: @escaping @Sendable (isolated Loop) -> Void) {
    mailbox.post(work)
  }

  /// Watches `descriptor` for `member`; returns the token that names the watch.
  ///
  /// - Throws: if the kernel refuses.
  package func watch(
    _ descriptor: Int32, for member: any LoopMember
  ) throws(TransportError) -> UInt64 {
    let token = nextToken
    nextToken += 1
    try Self.add(descriptor, token: token, to: set.number)
    members[token] = member
    wake(at: clock.now().advanced(milliseconds: Self.tickMilliseconds))
    return token
  }

  /// Chooses what a watched descriptor is watched for.
  package func update(_ token: UInt64, _ descriptor: Int32, readable: Bool, writable: Bool) {
    let events = (readable ? EPOLLIN.rawValue : 0) | (writable ? EPOLLOUT.rawValue : 0)
    let result = kdn_epoll_control(set.number, EPOLL_CTL_MOD, descriptor, events, token)
    precondition(result == 0, "a watched descriptor left the set: errno \(errno)")
  }

  /// Stops watching; the descriptor must still be open.
  package func unwatch(_ token: UInt64, _ descriptor: Int32) {
    guard members.removeValue(forKey: token) != nil else { return }
    _ = kdn_epoll_control(set.number, EPOLL_CTL_DEL, descriptor, 0, token)
  }

  /// Makes sure that members get a tick at `instant` or before.
  package func wake(at instant: Instant) {
    guard instant < nextTick else { return }
    nextTick = instant
    let wait = max(1, instant.nanoseconds(since: clock.now()))
    var setting = itimerspec()
    setting.it_value.tv_sec = Int(wait / 1_000_000_000)
    setting.it_value.tv_nsec = Int(wait % 1_000_000_000)
    unsafe timerfd_settime(timer.number, 0, &setting, nil)
  }

  /// Memory that members may use while one call of theirs lasts.
  @unsafe package var scratch: UnsafeMutableRawBufferPointer { unsafe memory.bytes }

  /// The present time on the loop's clock.
  package func now() -> Instant { clock.now() }

  /// How many descriptors are watched.
  package var memberCount: Int { members.count }

  /// Stops the loop for good; members must have been removed.
  package func stop() {
    isStopped = true
    source.cancel()
    members.removeAll()
  }

  private func turn() {
    while !isStopped {
      if work(waitMilliseconds: 0) { continue }
      if spinForWork() { continue }
      guard work(waitMilliseconds: Self.lingerMilliseconds) else { return }
    }
  }

  /// Polls for a moment if that paid lately; true if work was found and done.
  private func spinForWork() -> Bool {
    let budget = spin.budgetNanoseconds()
    guard budget > 0 else { return false }
    let start = clock.now()
    repeat {
      guard !work(waitMilliseconds: 0) else {
        spin.ended(foundWork: true)
        return true
      }
    } while clock.now().nanoseconds(since: start) < budget
    spin.ended(foundWork: false)
    return false
  }

  /// Handles one batch of events; false if there was none within the wait.
  private func work(waitMilliseconds: Int32) -> Bool {
    let capacity = 64
    return unsafe withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: capacity) { batch in
      let count = unsafe epoll_wait(
        set.number, batch.baseAddress, Int32(capacity), waitMilliseconds)
      guard count > 0 else { return false }
      for index in 0..<Int(count) {
        let token = unsafe withUnsafePointer(to: batch[index]) { unsafe kdn_epoll_token($0) }
        dispatch(token, events: unsafe batch[index].events)
      }
      return true
    }
  }

  private func dispatch(_ token: UInt64, events: UInt32) {
    switch token {
    case Self.wakeToken:
      for work in mailbox.drain() { work(self) }
    case Self.timerToken:
      tick()
    default:
      let trouble = events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0
      members[token]?.ready(
        readable: trouble || events & EPOLLIN.rawValue != 0,
        writable: trouble || events & EPOLLOUT.rawValue != 0, on: self)
    }
  }

  private func tick() {
    var expirations: UInt64 = 0
    _ = unsafe read(timer.number, &expirations, MemoryLayout<UInt64>.size)
    nextTick = .never
    let now = clock.now()
    var next = now.advanced(milliseconds: Self.tickMilliseconds)
    for member in Array(members.values) {
      next = min(next, member.tick(now: now, on: self))
    }
    if !members.isEmpty { wake(at: max(next, now.advanced(milliseconds: 1))) }
  }
}

/// Memory for control bytes and for payload that nobody wants, shared by a loop's members.
// Safe because: the loop that owns it lends it only to its own members, one at a time.
@safe private struct ScratchMemory: ~Copyable, @unchecked Sendable {
  let bytes: UnsafeMutableRawBufferPointer

  init(byteCount: Int) {
    unsafe bytes = .allocate(byteCount: byteCount, alignment: 64)
  }

  deinit { unsafe bytes.deallocate() }
}

/// Work handed to a loop from other threads.
private final class Mailbox: Sendable {
  private let wake: Descriptor
  private let waiting = Guarded<[@Sendable (isolated Loop) -> Void]>([])

  init() throws(TransportError) {
    wake = try Descriptor("eventfd", kdn_eventfd())
  }

  var number: Int32 { wake.number }

  func post(_ work: @escaping @Sendable (isolated Loop) -> Void) {
    let wasEmpty = waiting.withLock { waiting in
      waiting.append(work)
      return waiting.count == 1
    }
    guard wasEmpty else { return }
    var one: UInt64 = 1
    _ = unsafe write(wake.number, &one, MemoryLayout<UInt64>.size)
  }

  func drain() -> [@Sendable (isolated Loop) -> Void] {
    var count: UInt64 = 0
    _ = unsafe read(wake.number, &count, MemoryLayout<UInt64>.size)
    return waiting.withLock { waiting in
      defer { waiting = [] }
      return waiting
    }
  }
}
