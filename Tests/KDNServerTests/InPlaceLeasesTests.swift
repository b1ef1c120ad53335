import KDNCore
import KDNMemory
import KDNTransport
import KDNWire
import Testing

@testable import KDNPool
@testable import KDNServer

@Suite("The leases in place of a connection")
struct InPlaceLeasesTests {
  private let arena: Arena
  private let pool: Pool
  private let namespace: Namespace

  init() throws {
    let configuration = ArenaConfiguration(
      capacityBytes: 4 << 20, slabBytes: 1 << 20, hugePages: .off, lockMemory: .off, numa: .off,
      prefault: false)
    arena = try Arena(configuration)
    pool = Pool(
      configuration: PoolConfiguration(memoryBytesMax: 64 << 20), arena: arena,
      clock: SystemClock())
    namespace = try pool.namespace(NamespaceName("x"))
  }

  /// Stores an object of `byteCount` bytes and lends it once.
  private func lease(_ name: UInt8, _ byteCount: Int) throws -> InPlaceLease {
    let key = ObjectKey(opaque: HashChain.opaque([name]))
    let facts = StoreFacts(
      key: key, parent: .none, byteCount: byteCount, firstToken: 0, tokenCount: 0,
      ttlMilliseconds: 0, recomputeMicroseconds: 0)
    if case .reserved(let reservation) = try pool.reserve(facts, in: namespace) {
      _ = try pool.publish(reservation, facts, checksum: Checksum(1), in: namespace)
    }
    let lease = InPlaceLease()
    if case .hit(let hit) = pool.lookup(key, in: namespace) {
      lease.append(hit, byteCount: byteCount)
    }
    return lease
  }

  private func at(_ milliseconds: UInt64) -> Instant {
    Instant(nanoseconds: milliseconds * 1_000_000)
  }

  @Test("end at their own times, neither before nor after")
  func expiry() throws {
    var leases = InPlaceLeases()
    let late = leases.add(try lease(1, 100), until: at(300))
    let early = leases.add(try lease(2, 200), until: at(100))
    #expect(leases.nextEnd == at(100) && leases.byteCount == 300 && leases.count == 2)
    leases.expire(now: at(99))
    #expect(leases.count == 2)
    leases.expire(now: at(100))
    #expect(leases.count == 1 && leases.byteCount == 100 && leases.nextEnd == at(300))
    let (isEarlyHeld, isLateHeld) = (leases.release(early), leases.release(late))
    #expect(!isEarlyHeld && isLateHeld)
    #expect(leases.count == 0 && leases.byteCount == 0 && leases.nextEnd == .never)
  }

  @Test("have numbers that are no other's, and never come again")
  func numbers() throws {
    var leases = InPlaceLeases()
    let first = leases.add(try lease(1, 100), until: at(1))
    leases.removeAll()
    let second = leases.add(try lease(1, 100), until: at(1))
    #expect(first & InPlaceAnswer.leaseBit != 0 && second & InPlaceAnswer.leaseBit != 0)
    #expect(first != second)
  }

  @Test("name a slab as long as one of them reads something of it, and keep its bytes as long")
  func slabs() throws {
    var leases = InPlaceLeases()
    let one = try lease(1, 100)
    var slab: Slab?
    one.forEachSlab { slab = $0 }
    let id = try #require(slab?.id)
    slab = nil
    let first = leases.add(one, until: at(1))
    let second = leases.add(try lease(1, 100), until: at(2))
    #expect(leases.slab(id)?.id == id)
    let isFirstHeld = leases.release(first)
    #expect(isFirstHeld)
    #expect(leases.slab(id)?.id == id)
    let isSecondHeld = leases.release(second)
    #expect(isSecondHeld)
    #expect(leases.slab(id) == nil)
  }

  @Test("leave room for as many bytes as the credit says, and none beyond their number")
  func room() throws {
    var leases = InPlaceLeases()
    #expect(leases.room(within: 1000) == 1000)
    _ = leases.add(try lease(1, 600), until: at(1))
    #expect(leases.room(within: 1000) == 400)
    #expect(leases.room(within: 500) == 0)
    #expect(leases.recordBytes == InPlaceLeases.recordBytes(extents: 1))
    while leases.count < InPlaceLeases.countMax {
      _ = leases.add(try lease(2, 1), until: at(1))
    }
    #expect(leases.room(within: 1 << 40) == 0)
  }
}
