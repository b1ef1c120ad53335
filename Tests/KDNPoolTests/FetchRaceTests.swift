import Foundation
import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

/// Many callers at once; run under the thread and address sanitizers too.
struct FetchRaceTests {
  @Test func manyWhoWantTheSameObjectShareOneRead() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let fetches = (0..<16).map { _ in tiers.fetch([1]) }
    #expect(tiers.tier.count("read") == 1 && tiers.fetches.joined == 15)
    tiers.tier.endRead()
    for (fetch, told) in fetches {
      #expect(told.number == 1 && tiers.take(1, from: fetch) == .filled(1))
    }
    #expect(tiers.pool.statistics.diskHits == 16)
  }

  @Test func whoComesJustWhenAReadEndsFindsTheObjectInRAM() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let (first, _) = tiers.fetch([1])
    // The second has looked into RAM twice in vain when the read of the first ends.
    tiers.tier.set { state in
      state.onFind = {
        tiers.tier.set { $0.onFind = { tiers.tier.endRead() } }
      }
    }
    let (second, told) = tiers.fetch([1])
    #expect(told.number == 1 && tiers.tier.count("read") == 1)
    #expect(tiers.take(1, from: first) == .filled(1))
    #expect(tiers.take(1, from: second) == .filled(1))
  }

  @Test func sixteenThreadsThatWantTheSameObjectsCauseOneReadOfEach() throws {
    let tiers = try TwoTiers(kibibytes: 1024)
    for number in 1...25 { tiers.putBelow(number) }
    let reader = Releaser(tiers.tier)
    let wrong = Told()
    DispatchQueue.concurrentPerform(iterations: 16) { _ in
      for number in 1...25 {
        let arrived = DispatchSemaphore(value: 0)
        let fetch = tiers.pool.fetch([tiers.key(number)], in: tiers.fixture.tenant) {
          arrived.signal()
        }
        if fetch != nil { arrived.wait() }
        let taken = tiers.take(number, from: fetch) ?? tiers.lookup(number)
        if taken != .filled(UInt8(number)) { wrong.tell() }
      }
    }
    reader.stop()
    #expect(wrong.number == 0)
    #expect(tiers.tier.count("read") == 25)
    #expect(tiers.fetches.promoted == 25 && tiers.fetches.underWay == 0)
  }

  @Test func aStoreOfTheSameKeyDuringAReadWins() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let (fetch, _) = tiers.fetch([1])
    let facts = try #require(
      tiers.tier.state.withLock { $0.stored.values.first?.facts })
    tiers.tier.set { $0.stored = [:] }
    try tiers.store(1)
    let stored = tiers.pool.live(
      tiers.key(1), in: tiers.fixture.tenant, now: tiers.fixture.clock.now())
    tiers.tier.endRead(.whole(facts))
    guard case .hit(let hit) = fetch?.take(tiers.key(1)) else {
      Issue.record("missed")
      return
    }
    #expect(hit.object === stored)
    #expect(tiers.fixture.arena.statistics.extents == 1)
  }

  @Test func whoIsToldMayCallThePoolAndTheFetch() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    tiers.putBelow(2)
    let inner = Box<Fetch?>(nil)
    let fetch = tiers.pool.fetch([tiers.key(1)], in: tiers.fixture.tenant) {
      _ = tiers.lookup(1)
      inner.set(tiers.pool.fetch([tiers.key(2)], in: tiers.fixture.tenant) {})
      tiers.pool.purge(.keys([tiers.key(1)]), in: tiers.fixture.tenant) { _ in }
    }
    tiers.tier.endReads()
    #expect(tiers.take(1, from: fetch) == .filled(1))
    #expect(tiers.take(2, from: inner.value) == .filled(2))
    #expect(!tiers.fixture.has(1))
  }

  @Test func cancellingWhileReadsEndLeavesNothingBehind() throws {
    let tiers = try TwoTiers()
    for number in 1...4 { tiers.putBelow(number) }
    let reader = Releaser(tiers.tier)
    let late = Told()
    for _ in 0..<200 {
      let fetch = tiers.pool.fetch((1...4).map(tiers.key), in: tiers.fixture.tenant) {
        late.tell()
      }
      fetch?.cancel()
      if let taken = fetch?.take(tiers.key(1)) {
        _ = Taken(taken)
        Issue.record("taken after cancel")
      }
      _ = tiers.pool.purgeRAM(.keys((1...4).map(tiers.key)), tiers.fixture.tenant)
    }
    while tiers.fetches.underWay > 0 { tiers.tier.endReads() }
    reader.stop()
    #expect(late.number <= 200)
    _ = tiers.pool.purgeRAM(.namespace, tiers.fixture.tenant)
    while tiers.pool.sweep(now: tiers.fixture.clock.now()) {}
    #expect(tiers.fixture.arena.statistics.allocatedBytes == 0)
  }
}

/// Ends reads and writes of a tier on threads of its own until it is stopped.
final class Releaser: Sendable {
  private let isStopping = Box(false)
  private let ended = DispatchSemaphore(value: 0)
  private let threadCount: Int

  init(_ tier: ScriptedTier, threads: Int = 2) {
    threadCount = threads
    for _ in 0..<threads {
      Thread.detachNewThread { [isStopping, ended] in
        while !isStopping.value {
          tier.endRead()
          tier.endWrite()
          sched_yield()
        }
        ended.signal()
      }
    }
  }

  func stop() {
    isStopping.set(true)
    for _ in 0..<threadCount { ended.wait() }
  }
}
