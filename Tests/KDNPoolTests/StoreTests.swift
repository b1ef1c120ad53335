import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

struct StoreTests {
  @Test func nothingIsVisibleBeforePublish() throws {
    let fixture = try Fixture()
    let facts = fixture.facts(1)
    guard case .reserved(let reservation) = try fixture.pool.reserve(facts, in: fixture.tenant)
    else {
      Issue.record("not reserved")
      return
    }
    #expect(reservation.byteCount == 32 << 10)
    #expect(!fixture.has(1))
    #expect(fixture.pool.statistics.reservations == 1)
    _ = try fixture.pool.publish(reservation, facts, checksum: Checksum(7), in: fixture.tenant)
    #expect(fixture.has(1))
    #expect(fixture.pool.statistics.reservations == 0)
  }

  @Test func aDroppedReservationGivesBackMemoryAndCharge() throws {
    let fixture = try Fixture()
    let before = fixture.pool.statistics.chargedBytes
    do {
      _ = try fixture.pool.reserve(fixture.facts(1), in: fixture.tenant)
    }
    #expect(fixture.pool.statistics.chargedBytes == before)
    #expect(fixture.arena.statistics.allocatedBytes == 0)
    #expect(fixture.pool.statistics.reservations == 0)
  }

  @Test func theBytesWrittenAreTheBytesRead() throws {
    let fixture = try Fixture()
    let facts = fixture.facts(3)
    let bytes = (0..<facts.byteCount).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    if case .reserved(let reservation) = try fixture.pool.reserve(facts, in: fixture.tenant) {
      UnsafeMutableRawBufferPointer(
        start: reservation.memory.base, count: reservation.byteCount
      ).copyBytes(from: bytes)
      _ = try fixture.pool.publish(
        reservation, facts, checksum: Checksum(of: bytes), in: fixture.tenant)
    }
    guard case .hit(let lease) = fixture.pool.lookup(facts.key, in: fixture.tenant) else {
      Issue.record("missed")
      return
    }
    let read = UnsafeRawBufferPointer(start: lease.lease.base, count: lease.lease.byteCount)
    #expect(Array(read) == bytes)
    #expect(lease.object.checksum == Checksum(of: bytes))
  }

  @Test func theSameBytesAgainArePresent() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1))
    guard case .present(let checksum) = try fixture.store(fixture.facts(1)) else {
      Issue.record("not present")
      return
    }
    #expect(checksum == Checksum(7))
    #expect(fixture.pool.statistics.stores == 1)
  }

  @Test func otherBytesAreAConflictAndTheFirstStay() throws {
    let fixture = try Fixture()
    let facts = fixture.facts(1)
    let conflict = PoolRefusal.conflict(found: Checksum(7), given: Checksum(8))
    guard case .reserved(let second) = try fixture.pool.reserve(facts, in: fixture.tenant) else {
      Issue.record("not reserved")
      return
    }
    try fixture.store(facts)
    do {
      _ = try fixture.pool.publish(second, facts, checksum: Checksum(8), in: fixture.tenant)
      Issue.record("published twice")
    } catch {
      #expect(error == conflict)
    }
    #expect(fixture.refusal { try fixture.store(facts, checksum: 8) } == conflict)
    #expect(fixture.pool.statistics.conflicts == 2)
    #expect(fixture.pool.statistics.arena.extents == 1)
    guard case .hit(let lease) = fixture.pool.lookup(facts.key, in: fixture.tenant) else {
      Issue.record("missed")
      return
    }
    #expect(lease.object.checksum == Checksum(7))
  }

  @Test func anObjectReservedBeforeAPurgeOfTheNamespaceIsNotPublishedAfterIt() throws {
    let fixture = try Fixture()
    let facts = fixture.facts(1)
    guard case .reserved(let old) = try fixture.pool.reserve(facts, in: fixture.tenant) else {
      Issue.record("not reserved")
      return
    }
    fixture.purge(.namespace)
    do {
      _ = try fixture.pool.publish(old, facts, checksum: Checksum(7), in: fixture.tenant)
      Issue.record("published")
    } catch {
      #expect(error == .notFound(what: "generation", number: 0))
    }
    #expect(!fixture.has(1))
    #expect(fixture.arena.statistics.allocatedBytes == 0)
  }

  @Test func aLayoutMustBeRegisteredInTheNamespace() throws {
    let fixture = try Fixture()
    let other = try fixture.pool.namespace(NamespaceName("other"))
    #expect(
      fixture.refusal { try fixture.store(fixture.facts(1), in: other) }
        == .notFound(what: "layout", number: 0))
    #expect(fixture.pool.geometry(of: fixture.layout.id, in: other) == nil)
    #expect(try fixture.pool.register(fixture.layout, in: other) == fixture.layout.id)
    #expect(try fixture.pool.register(fixture.layout, in: other) == fixture.layout.id)
    try fixture.store(fixture.facts(1), in: other)
    #expect(!fixture.has(1))
  }

  @Test(arguments: [
    (32, 32 * 1024 + 1, "totalBytes"), (32, 0, "totalBytes"), (0, 1024, "tokenCount"),
    (4097, 4097 * 1024, "tokenCount"),
  ])
  func factsThatDoNotFitTheLayoutAreNamed(tokens: Int, bytes: Int, field: String) throws {
    let fixture = try Fixture()
    let facts = StoreFacts(key: fixture.key(1), byteCount: bytes, tokenCount: tokens)
    guard case .fault(let fault) = fixture.refusal({ try fixture.store(facts) }) else {
      Issue.record("no fault")
      return
    }
    #expect(fault.field == field)
  }

  @Test func anOpaqueObjectHasNoTokensAndNoParent() throws {
    let fixture = try Fixture()
    let key = ObjectKey(opaque: fixture.hash(9))
    try fixture.store(StoreFacts(key: key, byteCount: 100))
    #expect(fixture.pool.contains(key, in: fixture.tenant))
    let other = ObjectKey(opaque: fixture.hash(8))
    for facts in [
      StoreFacts(key: other, byteCount: 1, tokenCount: 1),
      StoreFacts(key: other, parent: fixture.hash(1), byteCount: 1),
    ] {
      guard case .fault = fixture.refusal({ try fixture.store(facts) }) else {
        Issue.record("no fault")
        return
      }
    }
  }

  @Test func whatCanNeverFitIsTooLarge() throws {
    let fixture = try Fixture()
    let facts = StoreFacts(key: ObjectKey(opaque: fixture.hash(1)), byteCount: 257 << 10)
    #expect(
      fixture.refusal { try fixture.store(facts) }
        == .tooLarge(bytes: 257 << 10, limit: 256 << 10))
  }

  @Test func namespacesAndLayoutsAreLimited() throws {
    let fixture = try Fixture {
      $0.namespacesMax = 2
      $0.layoutsPerNamespaceMax = 1
    }
    let second = try fixture.pool.namespace(NamespaceName("second"))
    #expect(try fixture.pool.namespace(NamespaceName("second")) === second)
    guard
      case .limit = fixture.refusal({ _ = try fixture.pool.namespace(NamespaceName("third")) })
    else {
      Issue.record("a third namespace")
      return
    }
    let layout = try Layout(
      elementType: .i8, groups: [LayoutGroup(kind: .opaque(bytesPerToken: 1), layers: [0])])
    guard
      case .limit = fixture.refusal({ _ = try fixture.pool.register(layout, in: fixture.tenant) })
    else {
      Issue.record("a second layout")
      return
    }
  }
}
