import Dispatch
import KDNCore
import KDNTier
import Synchronization

/// Does what was submitted in any order, one step of one work at a time.
// Safe because: one thread plays a whole simulation.
final class SimulatedEngine: DiskEngine, @unchecked Sendable {
  private enum Progress {
    case queued
    /// A synchronise that covers the writes up to this number.
    case begun(through: UInt64)
    case done(Result<Void, DiskError>)
  }

  private struct Job {
    let work: DiskWork
    let completion: @Sendable (Result<Void, DiskError>) -> Void
    /// The last write when it was submitted.
    let stamp: UInt64
    /// Of the bytes to be written, when they were submitted.
    let checksum: UInt64
    var progress = Progress.queued
  }

  let name = "simulated"
  private let disk: SimulatedDisk
  private var jobs: [Job] = []
  private var isDead = false
  /// Set from any thread: a tier ends its engines away from them.
  private let isShutDown = Atomic(false)
  private let end = DispatchSemaphore(value: 0)

  init(disk: SimulatedDisk) { self.disk = disk }

  /// Whether nothing is under way.
  var isIdle: Bool { jobs.isEmpty }

  func submit(
    _ work: DiskWork, completion: @escaping @Sendable (Result<Void, DiskError>) -> Void
  ) {
    guard !isDead else { return }
    if isShutDown.load(ordering: .sequentiallyConsistent) {
      disk.violate("a work for an engine that was shut down")
    }
    if case .write(let file, let offset, let pieces) = work { checkOverlap(file, offset, pieces) }
    jobs.append(
      Job(
        work: work, completion: completion, stamp: disk.stamp, checksum: Self.checksum(of: work)))
  }

  /// Waits until the driver, which is another thread, has had all done that was submitted.
  func shutDown() {
    isShutDown.store(true, ordering: .sequentiallyConsistent)
    end.wait()
  }

  /// Lets `shutDown` return.
  func allowShutDown() { end.signal() }

  /// Does one step of a work chosen at random; false if there is none.
  func step() -> Bool {
    guard !jobs.isEmpty, !isDead, disk.isPowered else { return false }
    let index = disk.random.number(below: jobs.count)
    let job = jobs[index]
    switch job.progress {
    case .done(let result):
      jobs.remove(at: index)
      job.completion(result)
    case .begun(let bound):
      guard case .synchronise(let file) = job.work, let file = file as? SimulatedFile else { break }
      finish(index, Self.result { () throws(DiskError) in try file.endSynchronise(through: bound) })
    case .queued:
      begin(index, job)
    }
    return true
  }

  private func begin(_ index: Int, _ job: Job) {
    switch job.work {
    case .synchronise(let file):
      guard let file = file as? SimulatedFile else { return }
      file.beginSynchronise()
      // It covers what was completed before it was submitted; perhaps also what came after.
      jobs[index].progress = .begun(through: disk.random.isOne(in: 2) ? job.stamp : disk.stamp)
    case .read(let file, let offset, let pieces):
      finish(
        index, Self.result { () throws(DiskError) in try file.read(at: offset, into: pieces) })
    case .write(let file, let offset, let pieces):
      if Self.checksum(of: job.work) != job.checksum {
        disk.violate("memory changed under a write of \(file.name) at \(offset)")
      }
      finish(
        index, Self.result { () throws(DiskError) in try file.write(at: offset, from: pieces) })
    case .run(let body):
      finish(index, Self.result { () throws(DiskError) in try body() })
    }
  }

  /// Keeps the result for a while, or tells it at once.
  private func finish(_ index: Int, _ result: Result<Void, DiskError>) {
    // Without power nobody hears of it, and a run may have submitted more.
    guard disk.isPowered else { return }
    guard disk.random.isOne(in: 2) else {
      jobs[index].progress = .done(result)
      return
    }
    let job = jobs.remove(at: index)
    job.completion(result)
  }

  /// The process is gone: what it had submitted may be done in part, and nobody is told.
  func die() {
    isDead = true
    for job in jobs {
      guard case .queued = job.progress, case .write(let file, let offset, let pieces) = job.work,
        disk.random.isOne(in: 2)
      else { continue }
      (file as? SimulatedFile)?.tear(at: offset, from: pieces)
    }
    jobs = []
    allowShutDown()
  }

  private func checkOverlap(_ file: any BlockFile, _ offset: Int, _ pieces: [BlockSpan]) {
    let range = offset..<offset + pieces.reduce(0) { $0 + $1.byteCount }
    for job in jobs {
      guard case .write(let other, let start, let spans) = job.work, other === file
      else { continue }
      let end = start + spans.reduce(0) { $0 + $1.byteCount }
      guard range.overlaps(start..<end) else { continue }
      disk.violate("two writes under way to the same blocks of \(file.name), at \(offset)")
    }
  }

  private static func checksum(of work: DiskWork) -> UInt64 {
    guard case .write(_, _, let pieces) = work else { return 0 }
    return pieces.reduce(0) {
      let bytes = UnsafeRawBufferPointer(start: $1.base, count: $1.byteCount)
      return $0 &* 31 &+ Checksum(of: bytes).value
    }
  }

  private static func result(
    _ body: () throws(DiskError) -> Void
  ) -> Result<Void, DiskError> {
    do {
      try body()
      return .success(())
    } catch {
      return .failure(error)
    }
  }
}
