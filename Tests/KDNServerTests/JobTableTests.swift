import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

@Suite("The queue of a namespace's work")
struct JobTableTests {
  private let start = Instant(nanoseconds: 1_000_000_000)
  private let first = OwnerID(number: 1)
  private let second = OwnerID(number: 2)

  private func after(_ milliseconds: UInt64) -> Instant {
    start.advanced(milliseconds: milliseconds)
  }

  private func submit(
    to table: inout JobTable, _ kind: String = "learn", deadline: UInt64 = 60_000,
    attempts: Int = 3, bytes: Int = 8
  ) throws -> UInt64 {
    try table.submit(
      kind: kind, payload: Array(repeating: 7, count: bytes), deadline: after(deadline),
      attemptsMax: attempts, now: start)
  }

  private func take(
    from table: inout JobTable, _ owner: OwnerID, lease: UInt64 = 5000, at now: Instant? = nil
  ) -> Job? {
    table.take(["learn"], for: owner, leaseMilliseconds: lease, now: now ?? start)
  }

  @Test("gives jobs of the kinds asked for, the oldest first, each to one worker")
  func order() throws {
    var table = JobTable()
    let jobs = [
      try submit(to: &table), try submit(to: &table, "blend"), try submit(to: &table),
    ]
    #expect(take(from: &table, first)?.id == jobs[0])
    #expect(take(from: &table, second)?.id == jobs[2])
    #expect(take(from: &table, first) == nil)
    #expect(
      table.take(["x", "blend"], for: first, leaseMilliseconds: 1, now: start)?.id == jobs[1])
    #expect(table.runningCount == 3)
  }

  @Test("keeps the result of a job that is done for ten minutes, and no payload")
  func result() throws {
    var table = JobTable()
    let id = try submit(to: &table)
    #expect(take(from: &table, first)?.attempts == 1)
    #expect(table.finish(id, attempt: 1, result: [1, 2], now: after(10)) == .held)
    let known = table.status(of: id, now: after(600_000))
    let told = try #require(known)
    #expect(told.state == .ended(.done, at: after(10)))
    #expect(told.result == [1, 2] && told.payload.isEmpty && told.progressPermille == 1000)
    #expect(table.status(of: id, now: after(600_010)) == nil)
    #expect(table.byteCount == 0 && table.isEmpty)
  }

  @Test("gives a job to another once its worker's connection ends, at its old place")
  func connectionEnds() throws {
    var table = JobTable()
    let id = try submit(to: &table)
    let later = try submit(to: &table)
    #expect(take(from: &table, first)?.id == id)
    #expect(table.takeArrivedKinds() == ["learn"])
    table.ownerEnded(first, now: start)
    #expect(table.takeArrivedKinds() == ["learn"])
    let taken = take(from: &table, second)
    let again = try #require(taken)
    #expect(again.id == id && again.attempts == 2 && !again.payload.isEmpty)
    #expect(take(from: &table, second)?.id == later)
    #expect(table.counts.lost == 1 && table.counts.givenBack == 1)
  }

  @Test("takes a job from a worker that does not renew its lease, and nothing from it afterwards")
  func leaseEnds() throws {
    var table = JobTable()
    let id = try submit(to: &table)
    #expect(take(from: &table, first) != nil)
    #expect(
      table.renew(id, attempt: 1, by: first, progressPermille: 400, now: after(4999)) == .held)
    #expect(table.status(of: id, now: after(9998))?.progressPermille == 400)
    table.expire(now: after(9999))
    #expect(table.queuedCount == 1)
    #expect(take(from: &table, second, at: after(10_000))?.attempts == 2)
    #expect(
      table.renew(id, attempt: 1, by: first, progressPermille: 500, now: after(10_000)) == .lost)
    #expect(table.finish(id, attempt: 1, result: [1], now: after(10_000)) == .lost)
    #expect(table.fail(id, attempt: 1, reason: "", again: false, now: after(10_000)) == .lost)
    #expect(table.finish(id, attempt: 2, result: [2], now: after(10_000)) == .held)
    #expect(table.status(of: id, now: after(10_000))?.result == [2])
  }

  @Test("leaves a job with whoever renewed its lease last")
  func handOver() throws {
    var table = JobTable()
    let id = try submit(to: &table)
    #expect(take(from: &table, first) != nil)
    #expect(table.renew(id, attempt: 1, by: second, progressPermille: 0, now: start) == .held)
    table.ownerEnded(first, now: start)
    #expect(table.runningCount == 1)
    table.ownerEnded(second, now: start)
    #expect(table.queuedCount == 1)
  }

  @Test("fails a job whose attempts are used up, with the last reason")
  func attempts() throws {
    var table = JobTable()
    let id = try submit(to: &table, attempts: 2)
    #expect(take(from: &table, first) != nil)
    #expect(table.fail(id, attempt: 1, reason: "no memory", again: true, now: start) == .held)
    #expect(table.status(of: id, now: start)?.state == .queued)
    #expect(take(from: &table, second) != nil)
    _ = table.takeArrivedKinds()
    table.ownerEnded(second, now: start)
    #expect(table.takeArrivedKinds() == [])
    let known = table.status(of: id, now: start)
    let told = try #require(known)
    #expect(told.state == .ended(.failed, at: start) && told.attempts == 2)
    #expect(told.reason == "the worker's connection ended")
    #expect(take(from: &table, first) == nil)
  }

  @Test("fails a job at once when its worker says that trying again is of no use")
  func failure() throws {
    var table = JobTable()
    let id = try submit(to: &table)
    #expect(take(from: &table, first) != nil)
    #expect(table.fail(id, attempt: 1, reason: "no name", again: false, now: start) == .held)
    #expect(table.status(of: id, now: start)?.state == .ended(.failed, at: start))
  }

  @Test("puts a job that failed behind the others")
  func failedBehind() throws {
    var table = JobTable()
    let id = try submit(to: &table)
    let other = try submit(to: &table)
    #expect(take(from: &table, first)?.id == id)
    #expect(table.fail(id, attempt: 1, reason: "not mine", again: true, now: start) == .held)
    #expect(take(from: &table, first)?.id == other)
    #expect(take(from: &table, first)?.id == id)
  }

  @Test("ends a job at its deadline, whether it waits or runs")
  func deadline() throws {
    var table = JobTable()
    let running = try submit(to: &table, deadline: 1000)
    let waiting = try submit(to: &table, deadline: 2000)
    #expect(take(from: &table, first, lease: 600_000) != nil)
    #expect(
      table.renew(running, attempt: 1, by: first, progressPermille: 1, now: after(999)) == .held)
    #expect(
      table.renew(running, attempt: 1, by: first, progressPermille: 1, now: after(1000)) == .lost)
    #expect(
      table.status(of: running, now: after(1000))?.state == .ended(.expired, at: after(1000)))
    #expect(take(from: &table, first, at: after(2000)) == nil)
    #expect(table.status(of: waiting, now: after(2000))?.state == .ended(.expired, at: after(2000)))
  }

  @Test("tells the worker of a cancelled job so, and takes no result of it")
  func cancellation() throws {
    var table = JobTable()
    let id = try submit(to: &table)
    #expect(take(from: &table, first) != nil)
    #expect(table.cancel(id, now: start) == true)
    #expect(table.cancel(id, now: start) == false)
    #expect(table.cancel(id + 1, now: start) == nil)
    #expect(table.renew(id, attempt: 1, by: first, progressPermille: 0, now: start) == .cancelled)
    #expect(table.finish(id, attempt: 1, result: [1], now: start) == .cancelled)
    #expect(table.status(of: id, now: start)?.result == [])
    table.ownerEnded(first, now: start)
    #expect(table.status(of: id, now: start)?.state == .ended(.cancelled, at: start))
  }

  @Test("refuses more jobs, or bytes, than a namespace may have, until some are over")
  func limits() throws {
    var limits = WorkLimits()
    limits.jobsMax = 2
    limits.payloadBytesMax = 100
    limits.endedMax = 1
    var table = JobTable(limits: limits)
    let ids = [try submit(to: &table, bytes: 60), try submit(to: &table, bytes: 40)]
    #expect(
      throws: FieldFault("jobs", value: 3, limit: 2, "as much work as is kept")
    ) { try submit(to: &table) }
    _ = table.cancel(ids[0], now: start)
    #expect(
      throws: FieldFault("payloadBytes", value: 101, limit: 100, "as much work as is kept")
    ) { try submit(to: &table, bytes: 61) }
    _ = try submit(to: &table, bytes: 60)
    _ = table.cancel(ids[1], now: start)
    #expect(table.list(after: 0, limit: 10, now: start).map(\.id) == [ids[1], ids[1] + 1])
  }

  @Test(
    "loses no job, runs none twice at once and lets none outlive its deadline",
    arguments: UInt64(1)...24)
  func simulation(seed: UInt64) throws {
    var run = JobSimulation(seed: seed)
    for _ in 0..<300 { try run.step() }
    try run.finish()
  }
}
