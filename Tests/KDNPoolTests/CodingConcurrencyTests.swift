import Dispatch
import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

@Suite("Coding on threads of its own")
struct CodingConcurrencyTests {
  @Test("readers and writers on many threads get right bytes while objects change their form")
  func threads() throws {
    let tiers = try TwoTiers(kibibytes: 512, stagingKibibytes: 128)
    tiers.tier.set {
      $0.writes = .atOnce
      $0.reads = .atOnce
    }
    let decoding = try BackgroundThreads(count: 2, name: "decode")
    let encoding = try BackgroundThreads(count: 2, name: "encode", niceness: 1)
    let coder = ScriptedCoder()
    var settings = CodingSettings()
    settings.workersMax = 2
    // The clock stands still for seconds, and jumps: what matters here is not the share of time.
    settings.cpuPercent = 100_000
    tiers.pool.startCoding(coder, decoding: decoding, encoding: encoding, settings: settings)
    var policy = EncodingPolicy()
    policy.rules = [.cold(1, after: 0), .disk(1)]
    policy.keepsDecodedFromUse = 4
    tiers.pool.setEncodingPolicy(policy)
    let (wrong, right) = (Told(), Told())
    for round in 0..<2 {
      DispatchQueue.concurrentPerform(iterations: 4) { worker in
        Self.work(seed: UInt64(round * 4 + worker + 1), tiers, wrong: wrong, right: right)
      }
      Self.drain(tiers, encoding)
    }
    decoding.end()
    encoding.end()
    #expect(wrong.number == 0 && right.number > 0)
    let picture = tiers.pool.statistics
    #expect(picture.coding.encoded > 0 && picture.coding.failed == 0)
    #expect(picture.coding.replaced > 0 && picture.coding.decoded > 0)
    #expect(picture.writeBehind.leasedBytes == 0 && picture.bytes <= 512 << 10)
  }

  private static func work(seed: UInt64, _ tiers: TwoTiers, wrong: Told, right: Told) {
    var random = RandomNumbers(seed: seed)
    for _ in 0..<300 {
      let number = random.number(below: 24)
      switch random.number(below: 10) {
      case 0, 1, 2: _ = try? tiers.store(number)
      case 3:
        tiers.fixture.clock.advance(milliseconds: 1)
        _ = tiers.pool.sweep(now: tiers.fixture.clock.now())
      case 4: if random.number(below: 4) == 0 { _ = tiers.purge(.keys([tiers.key(number)])) }
      case 5: _ = tiers.makeDurable(number)
      default:
        switch read(number, tiers) {
        case .filled(UInt8(number)): right.tell()
        case .filled, .mixed: wrong.tell()
        case .missed, nil: break
        }
      }
    }
  }

  /// Waits until nothing is left to encode.
  private static func drain(_ tiers: TwoTiers, _ encoding: BackgroundThreads) {
    while tiers.pool.statistics.coding.queued > 0 || tiers.writes.leasedObjects > 0 {
      tiers.fixture.clock.advance(milliseconds: 1)
      tiers.pool.tick(now: tiers.fixture.clock.now())
      let turn = DispatchSemaphore(value: 0)
      encoding.run { turn.signal() }
      turn.wait()
    }
  }

  /// Fetches what has to be fetched, and waits for it.
  private static func read(_ number: Int, _ tiers: TwoTiers) -> Taken? {
    let done = DispatchSemaphore(value: 0)
    let key = tiers.key(number)
    let fetch = tiers.pool.fetch([key], in: tiers.fixture.tenant) { done.signal() }
    guard let fetch else { return Taken(tiers.pool.lookup(key, in: tiers.fixture.tenant)) }
    while done.wait(timeout: .now() + .milliseconds(20)) == .timedOut {
      tiers.fixture.clock.advance(milliseconds: 1)
      tiers.pool.tick(now: tiers.fixture.clock.now())
    }
    return tiers.take(number, from: fetch)
  }
}

/// SplitMix64, for threads that each have their own.
private struct RandomNumbers {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func number(below limit: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return Int((mixed ^ mixed >> 31) % UInt64(limit))
  }
}
