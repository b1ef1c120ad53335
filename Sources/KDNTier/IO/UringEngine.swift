internal import CPlatform
internal import Glibc
internal import KDNCore
internal import KDNMemory

/// Does I/O through io_uring: one ring and one thread for a directory, whatever the depth.
///
/// Completions are called on the ring's thread, those of `.run` on a helper's. They may come while
/// `submit` is still returning, but never inside that call.
package final class UringEngine: DiskEngine {
  package let name = "io_uring"
  /// What the log should tell besides: nil if all that was asked for is so.
  package let note: String?
  private let inbox: UringInbox
  private let thread: OwnThread
  private let helper: Workers

  /// Starts a ring that keeps hold of `memory`.
  ///
  /// All pages of that memory come into being and stay in RAM; it stays mapped until `shutDown`.
  /// Where the kernel does not let so much be held the ring works without, and `note` says so.
  /// `label` shows in the names of the threads.
  /// - Throws: if the kernel has no ring or no thread to give.
  package init(
    registering memory: RegisteredMemory = RegisteredMemory(), places: UringPlaces = UringPlaces(),
    label: String = "disk"
  ) throws(DiskError) {
    let inbox = try UringInbox()
    let setup = UringSetup()
    helper = try Workers(count: 1, name: "\(label)-run")
    thread = try OwnThread(name: "\(label)-ring") {
      guard let ring = setup.make(entries: places.total + 1, memory) else { return }
      UringLoop(ring, inbox, places: places).run()
    }
    self.inbox = inbox
    do throws(DiskError) {
      note = try setup.outcome()
    } catch {
      thread.join()
      throw error
    }
  }

  deinit { _ = inbox.end() }

  package func submit(
    _ work: DiskWork, completion: @escaping @Sendable (Result<Void, DiskError>) -> Void
  ) {
    switch work {
    case .read(let file, at: let offset, into: let pieces):
      inbox.put(UringTransfer(.read(IOVector(pieces)), file, at: offset, completion: completion))
    case .write(let file, at: let offset, from: let pieces):
      inbox.put(UringTransfer(.write(IOVector(pieces)), file, at: offset, completion: completion))
    case .synchronise(let file):
      inbox.put(UringTransfer(.synchronise, file, completion: completion))
    case .run:
      helper.submit { completion(work.perform()) }
    }
  }

  package func shutDown() {
    guard inbox.end() else { return }
    thread.join()
    helper.end()
  }

  /// Takes a block through a ring to a file in memory and back: whether this kernel has io_uring,
  /// and what confines this process (seccomp, `kernel.io_uring_disabled`) lets it be used.
  ///
  /// - Throws: what was refused.
  package static func probe() throws(DiskError) {
    let descriptor = try OpenDescriptor(kdn_memfd(0), "memfd_create", "")
    guard ftruncate(descriptor.number, diskBlockBytes) == 0 else {
      throw DiskError(call: "ftruncate", file: "", code: errno)
    }
    let file = OpenFile(descriptor, name: "probe", byteCount: diskBlockBytes, in: nil)
    let places = UringPlaces(reads: 1, writes: 1, synchronisations: 1)
    let engine = try UringEngine(places: places, label: "probe")
    defer { engine.shutDown() }
    let written = PageBuffer(byteCount: diskBlockBytes)
    let read = PageBuffer(byteCount: diskBlockBytes)
    unsafe written.base.storeBytes(of: 0x4B44_4E21, as: UInt32.self)
    let source = unsafe BlockSpan(base: written.base, byteCount: diskBlockBytes)
    let target = unsafe BlockSpan(base: read.base, byteCount: diskBlockBytes)
    try engine.wait(for: .write(file, at: 0, from: [source]))
    try engine.wait(for: .synchronise(file))
    try engine.wait(for: .read(file, at: 0, into: [target]))
    guard unsafe read.base.load(as: UInt32.self) == 0x4B44_4E21 else {
      throw DiskError(call: "io_uring", file: "probe", code: EIO)
    }
  }
}

/// How the ring's thread tells the engine's `init` what came of it.
private final class UringSetup: Sendable {
  private let result = Guarded<Result<String?, DiskError>?>(nil)
  private let told = CountingSemaphore()

  /// Makes the ring, on the thread that will use it; nil if there is none to be had.
  func make(entries: Int, _ memory: RegisteredMemory) -> UringRing? {
    do throws(DiskError) {
      let ring = try UringRing(entries: entries)
      tell(.success(Self.register(memory, with: ring)))
      return ring
    } catch {
      tell(.failure(error))
      return nil
    }
  }

  /// Waits until the ring is made; what the log should tell.
  ///
  /// - Throws: why there is none.
  func outcome() throws(DiskError) -> String? {
    told.wait()
    guard let result = result.withLock({ $0 }) else {
      preconditionFailure("told without a result")
    }
    return try result.get()
  }

  private func tell(_ outcome: Result<String?, DiskError>) {
    result.withLock { $0 = outcome }
    told.signal()
  }

  private static func register(_ memory: RegisteredMemory, with ring: UringRing) -> String? {
    guard !memory.ranges.isEmpty else { return nil }
    do throws(DiskError) {
      try ring.register(memory)
      return nil
    } catch {
      let reason = unsafe String(cString: strerror(error.code))
      return "memory is not registered with io_uring (\(reason)): RLIMIT_MEMLOCK is too low for it"
    }
  }
}
