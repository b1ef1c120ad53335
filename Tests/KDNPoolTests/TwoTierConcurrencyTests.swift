import Foundation
import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

/// Many threads on a pool of two tiers whose reads and writes end on other threads.
struct TwoTierConcurrencyTests {
  private struct Random {
    var state: UInt64
    mutating func number(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
  }

  /// What went wrong, and what happened at all.
  private struct Tally {
    let wrong = Told()
    let read = Told()
    let durable = Told()
    let unanswered = Box(0)
  }

  private func storeOrBusy(_ tiers: TwoTiers, _ number: Int, ttl: UInt64) throws {
    do {
      let parent = number % 6 == 0 ? nil : Optional(number - 1)
      try tiers.store(number, after: parent, tokens: 4, ttl: ttl)
    } catch PoolRefusal.busy {
    } catch PoolRefusal.notFound {
    }
  }

  private func check(_ taken: Taken?, _ number: Int, _ tally: Tally) {
    switch taken {
    case .filled(UInt8(number)): tally.read.tell()
    case .missed, nil: break
    case .filled, .mixed: tally.wrong.tell()
    }
  }

  private func step(
    _ tiers: TwoTiers, _ random: inout Random, owner: UInt64, _ tally: Tally
  ) throws {
    let number = 1 + random.number(60)
    let key = tiers.key(number)
    let tenant = tiers.fixture.tenant
    // The tier goes on at about the pace of the callers, here and on threads of its own.
    tiers.tier.endWrite()
    if random.number(2) == 0 { tiers.tier.endRead() }
    switch random.number(40) {
    case 0..<14:
      try storeOrBusy(tiers, number, ttl: random.number(10) == 0 ? 5 : 0)
    case 14..<18: check(tiers.lookup(number), number, tally)
    case 18..<26:
      let numbers = [number, number % 60 + 1, (number + 1) % 60 + 1]
      let done = DispatchSemaphore(value: 0)
      let fetch = tiers.pool.fetch(numbers.map(tiers.key), in: tenant) { done.signal() }
      guard let fetch else { return }
      if random.number(4) == 0 { return fetch.cancel() }
      done.wait()
      for number in numbers { check(tiers.take(number, from: fetch), number, tally) }
    case 26..<28:
      tally.unanswered.add(1)
      tiers.pool.makeDurable(key, in: tenant) { refusal in
        tally.unanswered.add(-1)
        if refusal == nil { tally.durable.tell() }
      }
    case 28, 29: _ = try tiers.fixture.match([number, number + 1], lease: 3, owner: owner)
    case 30: tiers.fixture.clock.advance(milliseconds: 1)
    case 31: _ = tiers.pool.sweep(now: tiers.fixture.clock.now())
    case 32: _ = try tiers.pool.pin([key], ttlMilliseconds: 2, in: tenant)
    case 33: _ = tiers.pool.unpin([key], in: tenant)
    case 34: _ = tiers.pool.prefetch([key, tiers.key(number % 60 + 1)], in: tenant)
    case 35, 36:
      tally.unanswered.add(1)
      let scope: PurgeScope =
        random.number(20) == 0 ? .namespace : .prefixes([tiers.fixture.hash(number)])
      tiers.pool.purge(scope, in: tenant) { _ in tally.unanswered.add(-1) }
    case 37: tiers.pool.ownerEnded(OwnerID(number: owner))
    case 38: _ = tiers.pool.statistics
    default: _ = tiers.pool.touch([key], in: tenant)
    }
  }

  @Test(arguments: [0, 64])
  func bytesReadAreAlwaysTheBytesStoredWhicheverTierTheyComeFrom(staging: Int) throws {
    let tiers = try TwoTiers(
      kibibytes: 128, stagingKibibytes: staging,
      adjust: { $0.writeBehindBytesMax = 64 << 10 })
    let releaser = Releaser(tiers.tier)
    let tally = Tally()
    let failures = Told()
    DispatchQueue.concurrentPerform(iterations: 4) { thread in
      var random = Random(state: UInt64(thread + 1))
      do {
        for _ in 0..<2500 { try step(tiers, &random, owner: UInt64(thread), tally) }
      } catch {
        failures.tell()
      }
      tiers.pool.ownerEnded(OwnerID(number: UInt64(thread)))
    }
    let closed = DispatchSemaphore(value: 0)
    tiers.pool.closeTier { closed.signal() }
    closed.wait()
    while tiers.fetches.underWay > 0 { tiers.pool.tick(now: tiers.fixture.clock.now()) }
    releaser.stop()
    #expect(failures.number == 0 && tally.wrong.number == 0 && tally.unanswered.value == 0)
    #expect(tally.read.number > 0 && tally.durable.number > 0)
    let busy = tiers.pool.statistics
    #expect(busy.diskHits > 0 && busy.evictions > 0 && busy.writeBehind.counts.written > 0)
    try expectEmpty(tiers)
  }

  /// Once all is purged, no memory may be left charged anywhere.
  private func expectEmpty(_ tiers: TwoTiers) throws {
    let answer = tiers.purge(.namespace)
    let picture = tiers.pool.residency.withLock { $0.shares.first }
    #expect(answer.value != nil)
    #expect(picture?.objects == 0 && picture?.heldObjects == 0 && picture?.heldBytes == 0)
    while tiers.pool.sweep(now: tiers.fixture.clock.now()) {}
    let end = tiers.pool.statistics
    #expect(end.objects == 0 && end.deadObjects == 0 && end.arena.allocatedBytes == 0)
    #expect(end.fetches.stagingBytes == 0 && end.writeBehind.leasedBytes == 0)
    #expect(end.writeBehind.waitingObjects == 0 && end.writeBehind.waitingBytes == 0)
    let fresh = try TwoTiers(
      kibibytes: 128,
      stagingKibibytes: (end.memoryBytesMax - tiers.baseBytes) >> 10)
    #expect(end.chargedBytes == fresh.pool.statistics.chargedBytes)
  }

  @Test func whatOnePurgeDropsNeverComesBackFromFlightsOrHandOvers() throws {
    for seed in 1...30 {
      let tiers = try TwoTiers(kibibytes: 512)
      let releaser = Releaser(tiers.tier, threads: 1)
      for number in 1...8 { tiers.putBelow(number) }
      for number in 9...12 { try tiers.store(number) }
      let keys = (1...12).map(tiers.key)
      DispatchQueue.concurrentPerform(iterations: 3) { thread in
        guard thread > 0 else {
          let done = DispatchSemaphore(value: 0)
          let scope: PurgeScope = seed % 2 == 0 ? .keys(keys) : .namespace
          tiers.pool.purge(scope, in: tiers.fixture.tenant) { _ in done.signal() }
          return done.wait()
        }
        for _ in 0..<5 {
          let done = DispatchSemaphore(value: 0)
          if tiers.pool.fetch(keys, in: tiers.fixture.tenant, notify: { done.signal() }) != nil {
            done.wait()
          }
          for key in keys {
            tiers.pool.makeDurable(key, in: tiers.fixture.tenant) { _ in }
          }
        }
      }
      let closed = DispatchSemaphore(value: 0)
      tiers.pool.closeTier { closed.signal() }
      closed.wait()
      releaser.stop()
      #expect(tiers.fixture.present(1...12).isEmpty)
      #expect(tiers.tier.storedKeys.isEmpty)
    }
  }
}

extension Box<Int> {
  func add(_ difference: Int) { change { $0 += difference } }
}

extension TwoTiers {
  /// The cap of the same pool without staging memory.
  fileprivate var baseBytes: Int {
    let configuration = pool.configuration
    return fixture.arena.statistics.capacityBytes + configuration.fixedBytes
      + configuration.writeQueueBytes + 4 << 20
  }
}
