import Foundation
import KDNCore
import KDNMemory
import Synchronization
import Testing

@testable import KDNPool

/// Many threads on one pool; run under the thread and address sanitizers too.
struct ConcurrencyTests {
  /// Runs `body` on `count` threads at once and waits for all; counts what threw.
  private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) -> Int {
    let failures = Guarded(0)
    DispatchQueue.concurrentPerform(iterations: count) { thread in
      do {
        try body(thread)
      } catch {
        failures.withLock { $0 += 1 }
      }
    }
    return failures.withLock { $0 }
  }

  private func fill(_ reservation: borrowing StoreReservation, _ number: Int) {
    reservation.memory.base.initializeMemory(
      as: UInt8.self, repeating: UInt8(number & 255), count: reservation.byteCount)
  }

  /// Stores if there is room; bytes and checksum follow from the number.
  private func store(_ fixture: Fixture, _ facts: StoreFacts, _ number: Int) throws {
    do {
      switch try fixture.pool.reserve(facts, in: fixture.tenant) {
      case .present: return
      case .reserved(let reservation):
        fill(reservation, number)
        _ = try fixture.pool.publish(
          reservation, facts, checksum: Checksum(UInt64(number)), in: fixture.tenant)
      }
    } catch PoolRefusal.busy {
    } catch PoolRefusal.notFound {
    } catch PoolRefusal.overQuota {
    }
  }

  private func pin(_ fixture: Fixture, _ number: Int) throws {
    do {
      _ = try fixture.pool.pin([fixture.key(number)], ttlMilliseconds: 2, in: fixture.tenant)
    } catch PoolRefusal.overQuota {
    }
  }

  /// Changes the tenant's quotas, and looks at it as an administrator does.
  private func administer(_ fixture: Fixture, _ kibibytes: Int) throws {
    let limits = NamespaceLimits(
      ramBytesMax: kibibytes > 80 ? nil : (16 + kibibytes) << 10,
      pinnedBytesMax: kibibytes > 60 ? nil : 12 << 10)
    fixture.pool.setLimits(limits, of: fixture.tenant)
    _ = fixture.pool.share(of: fixture.tenant)
    _ = try fixture.pool.objects(in: fixture.tenant, after: nil, limit: 9)
    _ = fixture.pool.keys(of: [fixture.hash(kibibytes)], in: fixture.tenant)
    fixture.pool.setTimes(
      leaseDefaultMilliseconds: 3, leaseMaxMilliseconds: 4, pinMaxMilliseconds: 5)
  }

  private func isIntact(_ lease: borrowing ReadLease, _ number: Int) -> Bool {
    let bytes = UnsafeRawBufferPointer(
      start: lease.lease.base, count: lease.lease.byteCount)
    return lease.object.checksum.value == UInt64(number)
      && bytes.allSatisfy { $0 == UInt8(number & 255) }
  }

  private func hammer(
    _ fixture: Fixture, thread: Int, rounds: Int, wrong: Count, hasQuotas: Bool
  ) throws {
    var state = UInt64(thread + 1)
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    let owner = UInt64(thread)
    for _ in 0..<rounds {
      let number = 1 + random(60)
      switch random(20) {
      case 0..<8:
        let parent = number % 6 == 0 ? nil : Optional(number - 1)
        let facts = fixture.facts(
          number, after: parent, tokens: 4, ttl: random(10) == 0 ? 5 : 0)
        try store(fixture, facts, number)
      case 8..<13:
        if case .hit(let lease) = fixture.pool.lookup(fixture.key(number), in: fixture.tenant),
          !isIntact(lease, number)
        {
          wrong.number.add(1, ordering: .relaxed)
        }
      case 13:
        let answer = try fixture.match([number, number + 1], lease: 3, owner: owner)
        if random(2) == 0 {
          _ = fixture.pool.release(lease: answer.leaseNumber, owner: OwnerID(number: owner))
        }
      case 14: fixture.clock.advance(milliseconds: 1)
      case 15: _ = fixture.pool.sweep(now: fixture.clock.now())
      case 16:
        try pin(fixture, number)
      case 17: _ = fixture.pool.unpin([fixture.key(number)], in: fixture.tenant)
      case 18 where random(8) == 0: fixture.purge(.namespace)
      case 18: fixture.purge(.prefixes([fixture.hash(number)]))
      case 19 where hasQuotas && random(3) == 0: try administer(fixture, random(100))
      default:
        fixture.pool.ownerEnded(OwnerID(number: owner))
        _ = fixture.pool.touch([fixture.key(number)], in: fixture.tenant)
        _ = fixture.pool.statistics
      }
    }
    fixture.pool.ownerEnded(OwnerID(number: owner))
  }

  @Test(arguments: [false, true])
  func bytesReadAreAlwaysTheBytesStoredWhileThreadsStoreEvictAndPurge(hasQuotas: Bool) throws {
    let fixture = try Fixture(kibibytes: 128, slabKibibytes: 64)
    let wrong = Count()
    let failures = onThreads(4) { thread in
      try hammer(fixture, thread: thread, rounds: 4000, wrong: wrong, hasQuotas: hasQuotas)
    }
    #expect(failures == 0)
    #expect(wrong.number.load(ordering: .relaxed) == 0)
    let busy = fixture.pool.statistics
    #expect(busy.stores > 0 && busy.hits > 0 && busy.evictions > 0)
    #expect(busy.leases == 0 && busy.reservations == 0)
    fixture.purge(.namespace)
    while fixture.pool.sweep(now: fixture.clock.now()) {}
    let end = fixture.pool.statistics
    #expect(end.objects == 0 && end.deadObjects == 0 && end.pins == 0)
    #expect(end.arena.allocatedBytes == 0)
    #expect(end.namespaces[0].ramBytes == 0 && end.namespaces[0].pinnedBytes == 0)
    #expect(
      end.chargedBytes == end.arena.capacityBytes + fixture.pool.configuration.fixedBytes)
  }

  /// A shared number that a closure can hold.
  private final class Count: Sendable {
    let number = Atomic<Int>(0)
  }

  @Test func ofManyWritersOfOneKeyExactlyOnePublishes() throws {
    let fixture = try Fixture(kibibytes: 1024)
    let published = Count()
    for number in 1...40 {
      let facts = fixture.facts(number, tokens: 4)
      let failures = onThreads(4) { _ in
        guard case .reserved(let reservation) = try fixture.pool.reserve(facts, in: fixture.tenant)
        else { return }
        let answer = try fixture.pool.publish(
          reservation, facts, checksum: Checksum(1), in: fixture.tenant)
        if case .published = answer { published.number.add(1, ordering: .relaxed) }
      }
      #expect(failures == 0)
    }
    #expect(published.number.load(ordering: .relaxed) == 40)
    #expect(fixture.pool.statistics.arena.extents == 40)
  }

  @Test func noWaitIsLostWhenWaitAndPublishMeet() throws {
    let fixture = try Fixture(kibibytes: 1024)
    for number in 1...200 {
      let told = Count()
      let failures = onThreads(3) { thread in
        guard thread > 0 else {
          try fixture.store(fixture.facts(number, tokens: 1))
          return
        }
        let ticket = try fixture.pool.wait(for: fixture.key(number), in: fixture.tenant) {
          told.number.add(1, ordering: .sequentiallyConsistent)
        }
        // Nil says that it is here: as good as told.
        if ticket == nil { told.number.add(1, ordering: .sequentiallyConsistent) }
      }
      #expect(failures == 0)
      #expect(told.number.load(ordering: .sequentiallyConsistent) == 2)
    }
    #expect(fixture.pool.statistics.waiters == 0)
  }

  @Test func aWaitIsEitherToldOrCancelledNeverBoth() throws {
    let fixture = try Fixture(kibibytes: 1024)
    for number in 1...200 {
      let told = Count()
      let cancelled = Count()
      let ticket = try #require(
        try fixture.pool.wait(for: fixture.key(number), in: fixture.tenant) {
          told.number.add(1, ordering: .sequentiallyConsistent)
        })
      let failures = onThreads(2) { thread in
        if thread == 0 {
          try fixture.store(fixture.facts(number, tokens: 1))
        } else if fixture.pool.cancel(ticket) {
          cancelled.number.add(1, ordering: .sequentiallyConsistent)
        }
      }
      #expect(failures == 0)
      let sum =
        told.number.load(ordering: .sequentiallyConsistent)
        + cancelled.number.load(ordering: .sequentiallyConsistent)
      #expect(sum == 1)
    }
  }
}
