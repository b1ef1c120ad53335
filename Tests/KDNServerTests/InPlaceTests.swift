import Foundation
import Glibc
import KDNClient
import KDNCore
import KDNMemory
import KDNTransport
import KDNWire
import Testing

@testable import KDNServer

@Suite("A GET in shared memory")
struct InPlaceTests: ServerTesting {
  @Test("says where the bytes lie, and the slab that it names holds them, read-only")
  func readsInPlace() throws {
    let fixture = try SharedMemoryFixture()
    let value = bytes(1_000_000, seed: 3)
    let key = try fixture.store("one", value)
    let client = try fixture.client()
    let answer = try client.lend([.init(key: key)], id: 2)
    let lent = try #require(answer.inPlace)
    #expect(lent.leaseID & InPlaceAnswer.leaseBit != 0)
    #expect(lent.leaseMilliseconds == 10_000)
    #expect(answer.descriptors[0].sentBytes == value.count)
    #expect(answer.descriptors[0].sentChecksum == Checksum(of: value))
    let view = try client.map(lent.hits[0].slabID, id: 3)
    #expect(view.read(lent.hits[0].extents) == value)
    #expect(fixture.shared.leases == 1 && fixture.shared.leasedBytes == value.count)
    withExtendedLifetime(fixture) {}
  }

  @Test("takes no copy and no checksum of whole objects, and one checksum of parts")
  func counts() throws {
    let fixture = try SharedMemoryFixture()
    let value = bytes(300_000, seed: 4)
    let key = try fixture.store("counted", value)
    let client = try fixture.client()
    _ = try client.lend([.init(key: key)], id: 2)
    let before = try #require(fixture.link(.sharedMemory))
    #expect(before.sent == value.count && before.copied == 0 && before.hashed == 0)
    #expect(before.open == 1)
    let ranges = [100..<200, 5_000..<9_000]
    let answer = try client.lend([.init(key: key, selection: .ranges(ranges))], id: 3)
    let sent = ranges.flatMap { value[$0] }
    #expect(answer.descriptors[0].sentChecksum == Checksum(of: sent))
    let lent = try #require(answer.inPlace)
    #expect(try client.map(lent.hits[0].slabID, id: 4).read(lent.hits[0].extents) == sent)
    let after = try #require(fixture.link(.sharedMemory))
    #expect(after.copied == 0 && after.hashed == sent.count)
    let unverified = try client.lend(
      [.init(key: key, selection: .ranges(ranges))], id: 5, flags: .unverified)
    #expect(unverified.descriptors[0].sentChecksum == Checksum(0))
    #expect(fixture.link(.sharedMemory)?.hashed == sent.count)
    let unix = try #require(fixture.link(.unix))
    #expect(unix.copied == 0 && unix.hashed == 0)
    withExtendedLifetime(fixture) {}
  }

  @Test("gives misses their causes, and no lease without a hit")
  func misses() throws {
    let fixture = try SharedMemoryFixture()
    let key = try fixture.store("here", bytes(1000, seed: 1))
    let client = try fixture.client()
    let none = try client.lend([.init(key: opaque("nowhere"))], id: 2)
    #expect(none.inPlace == .empty && none.descriptors[0].miss == .neverStored)
    #expect(fixture.shared.leases == 0)
    let mixed = try client.lend([.init(key: opaque("nowhere")), .init(key: key)], id: 3)
    #expect(mixed.descriptors.map(\.miss) == [.neverStored, nil])
    #expect(mixed.inPlace?.hits.count == 1)
    withExtendedLifetime(fixture) {}
  }

  @Test("keeps what it lends while others fill the memory, and gives it back on RELEASE")
  func releases() throws {
    let fixture = try SharedMemoryFixture()
    let size = 2 << 20
    let value = bytes(size, seed: 9)
    let key = try fixture.store("kept", value)
    let client = try fixture.client()
    let resting = fixture.shared.charged
    let lent = try #require(try client.lend([.init(key: key)], id: 2).inPlace)
    let view = try client.map(lent.hits[0].slabID, id: 3)
    let viewer = try fixture.viewer()
    for number in 0..<60 {
      let facts = PutBeginRequest(key: opaque("other \(number)"), totalBytes: size)
      _ = try viewer.put(facts, bytes: bytes(size, seed: UInt8(number)))
    }
    #expect(try numbers(viewer, "pool")["evictions_total"] as? Int ?? 0 > 0)
    #expect(view.read(lent.hits[0].extents) == value)
    #expect(try client.status(.release(ReleaseRequest(leaseID: lent.leaseID)), id: 4) == .ok)
    #expect(fixture.shared.leases == 0 && fixture.shared.leasedBytes == 0)
    let again = try client.status(.release(ReleaseRequest(leaseID: lent.leaseID)), id: 5)
    #expect(again == .notFound)
    let slab = MapSlabRequest(slabID: lent.hits[0].slabID)
    #expect(try client.status(.mapSlab(slab), id: 6) == .notFound)
    #expect(client.descriptorCount == 0)
    // What the viewer's connection rests with is the difference, if anything is.
    #expect(fixture.shared.charged <= resting + Session.restingBytes)
    withExtendedLifetime(fixture) {}
  }

  @Test("ends by its time")
  func expires() throws {
    let fixture = try SharedMemoryFixture()
    let key = try fixture.store("short", bytes(1000, seed: 1))
    let client = try fixture.client()
    let lent = try #require(try client.lend([.init(key: key)], id: 2, milliseconds: 20).inPlace)
    #expect(lent.leaseMilliseconds == 20)
    while fixture.shared.leases > 0 {}
    let release = ReleaseRequest(leaseID: lent.leaseID)
    #expect(try client.status(.release(release), id: 3) == .notFound)
    let long = try client.lend([.init(key: key)], id: 4, milliseconds: .max)
    #expect(long.inPlace?.leaseMilliseconds == 60_000, "no longer than HELLO allows")
    withExtendedLifetime(fixture) {}
  }

  @Test("ends with its connection, and all that it took of the budget comes back")
  func clientDies() throws {
    let fixture = try SharedMemoryFixture()
    let key = try fixture.store("orphan", bytes(500_000, seed: 1))
    while fixture.server.context.counters.connectionCount > 0 {}
    let resting = fixture.shared.charged
    do {
      let client = try fixture.client()
      let lent = try #require(try client.lend([.init(key: key)], id: 2).inPlace)
      _ = try client.map(lent.hits[0].slabID, id: 3)
      _ = try client.window(100_000, id: 4)
      #expect(fixture.shared.windowBytes == 102_400)
      #expect(fixture.shared.charged >= resting + 102_400)
      // Dies without a word, a transfer open and its window half written.
      let begin = PutBeginRequest(key: opaque("half"), totalBytes: 5000)
      #expect(try client.status(.putBegin(begin), id: 5) == .ok)
    }
    while fixture.server.context.counters.connectionCount > 0 {}
    #expect(fixture.shared == (0, 0, 0, resting))
    #expect(fixture.link(.sharedMemory)?.open == 0)
    #expect(fixture.server.context.pool.statistics.reservations == 0)
    withExtendedLifetime(fixture) {}
  }

  @Test("lends no more at once than the credit: the rest are over_credit until something is back")
  func credit() throws {
    let fixture = try SharedMemoryFixture(["credit": ["1MiB"]])
    let keys = try (0..<3).map { try fixture.store("part \($0)", bytes(400 << 10, seed: $0)) }
    let client = try fixture.client()
    let first = try client.lend(keys.map { .init(key: $0) }, id: 2)
    #expect(first.descriptors.map(\.miss) == [nil, nil, .overCredit])
    let lent = try #require(first.inPlace)
    let second = try client.lend([.init(key: keys[2])], id: 3)
    #expect(second.descriptors[0].miss == .overCredit)
    let other = try fixture.client()
    #expect(try other.lend([.init(key: keys[2])], id: 2).descriptors[0].miss == nil)
    _ = try client.status(.release(ReleaseRequest(leaseID: lent.leaseID)), id: 4)
    #expect(try client.lend([.init(key: keys[2])], id: 5).descriptors[0].miss == nil)
    withExtendedLifetime(fixture) {}
  }

  @Test("holds at most 4096 leases on one connection")
  func leaseCount() throws {
    let fixture = try SharedMemoryFixture()
    let key = try fixture.store("tiny", [7])
    let client = try fixture.client()
    let item = GetRequest.Item(key: key)
    for number in 0..<InPlaceLeases.countMax {
      let answer = try client.lend([item], id: UInt64(number + 2))
      guard answer.descriptors[0].miss == nil else {
        Issue.record("lease \(number) was refused")
        return
      }
    }
    #expect(fixture.shared.leases == InPlaceLeases.countMax)
    let over = try client.lend([item], id: 9000)
    #expect(over.descriptors[0].miss == .overCredit && over.inPlace == .empty)
    withExtendedLifetime(fixture) {}
  }

  @Test("answers more pieces than its body may hold with over_credit: ask in smaller batches")
  func bodyLimit() throws {
    let fixture = try SharedMemoryFixture(["max_body": ["64KiB"]])
    let viewer = try fixture.viewer()
    let layers = Array(UInt16(0)..<64)
    let group = LayoutGroup(kind: .attention(kvHeads: 2, headDim: 4), layers: layers)
    let layout = try viewer.register(Layout(elementType: .i8, groups: [group])).layout
    let part = Part(firstLayer: 0, layerCount: 64, firstKVHead: 0, kvHeadCount: 2)
    let key = ObjectKey(hash: HashChain.opaque([1]), layout: layout, part: part)
    let value = bytes(64 * 2 * 2 * 4 * 16, seed: 1)
    _ = try viewer.put(
      PutBeginRequest(key: key, totalBytes: value.count, tokenCount: 16), bytes: value)
    let client = try fixture.client()
    // One head of two: a piece for the keys and one for the values of each layer.
    let head = Part(firstLayer: 0, layerCount: 64, firstKVHead: 1, kvHeadCount: 1)
    let item = GetRequest.Item(key: key, selection: .part(head))
    let answer = try client.lend(Array(repeating: item, count: 40), id: 2)
    let fitting = ((64 << 10) - 8 - 16 - 40 * 40) / SlabExtents.byteCount(extents: 128)
    #expect(answer.descriptors.map(\.miss).filter { $0 == nil }.count == fitting)
    #expect(answer.descriptors[fitting...].allSatisfy { $0.miss == .overCredit })
    let hit = try #require(answer.inPlace?.hits.first)
    let ranges = (0..<128).map { $0 * 128 + 64..<$0 * 128 + 128 }
    #expect(try client.map(hit.slabID, id: 3).read(hit.extents) == ranges.flatMap { value[$0] })
    withExtendedLifetime(fixture) {}
  }

  @Test("keeps its bytes though they are purged; nobody else finds them")
  func purged() throws {
    let fixture = try SharedMemoryFixture()
    let value = bytes(400_000, seed: 2)
    let key = try fixture.store("purged", value)
    let client = try fixture.client()
    let lent = try #require(try client.lend([.init(key: key)], id: 2).inPlace)
    let view = try client.map(lent.hits[0].slabID, id: 3)
    let viewer = try fixture.viewer()
    _ = try viewer.purge(.namespace)
    for number in 0..<30 {
      let facts = PutBeginRequest(key: opaque("new \(number)"), totalBytes: 400_000)
      _ = try viewer.put(facts, bytes: bytes(400_000, seed: UInt8(100 + number)))
    }
    #expect(view.read(lent.hits[0].extents) == value)
    #expect(try client.lend([.init(key: key)], id: 4).descriptors[0].miss == .purged)
    withExtendedLifetime(fixture) {}
  }

  @Test("counts what goes inline as copied, into and out of sockets alike")
  func inlineCounts() throws {
    let fixture = try SharedMemoryFixture()
    let value = bytes(100_000, seed: 2)
    let key = try fixture.store("inline", value)
    let stored = try #require(fixture.link(.tcp))
    #expect(stored.copied == value.count && stored.hashed == value.count)
    _ = try fixture.viewer().get(key, capacity: value.count)
    let read = try #require(fixture.link(.tcp))
    #expect(read.copied == 2 * value.count && read.hashed == value.count)
    #expect(fixture.link(.sharedMemory)?.copied == 0)
    withExtendedLifetime(fixture) {}
  }

  @Test("passes few descriptors that are not taken yet, and is busy for more")
  func descriptors() throws {
    let fixture = try SharedMemoryFixture()
    let key = try fixture.store("asked often", bytes(1000, seed: 1))
    let client = try fixture.client()
    let lent = try #require(try client.lend([.init(key: key)], id: 2).inPlace)
    let request = Request.mapSlab(MapSlabRequest(slabID: lent.hits[0].slabID))
    try client.ask(Array(repeating: request, count: 40), id: 3, step: 1)
    var statuses: [Status?] = []
    for _ in 0..<40 {
      let answer = try client.receive()
      statuses.append(answer.status)
      guard answer.status == .ok else { continue }
      close(try #require(client.nextDescriptor()))
    }
    #expect(Set(statuses) == [.ok, .busy])
    #expect(statuses.count { $0 == .ok } >= 16)
    #expect(client.descriptorCount == 0, "a refusal passes none")
    _ = try client.map(lent.hits[0].slabID, id: 90)
    withExtendedLifetime(fixture) {}
  }

  // MARK: Slabs that are gone

  /// A server of which a client has mapped slabs of several large objects that are gone since.
  private func strand(_ fixture: SharedMemoryFixture, _ client: RawClient) throws {
    let size = (4 << 20) + 4096
    var id: UInt64 = 10
    let sharing = fixture.server.context.sharedMemory
    while sharing.strandedBytes <= sharing.strandedBytesMax {
      let before = sharing.strandedBytes
      let key = try fixture.store("large \(id)", bytes(size, seed: UInt8(id % 200)))
      let lent = try #require(try client.lend([.init(key: key)], id: id).inPlace)
      _ = try client.map(lent.hits[0].slabID, id: id + 1)
      _ = try client.status(.release(ReleaseRequest(leaseID: lent.leaseID)), id: id + 2)
      _ = try fixture.viewer().purge(.namespace)
      while sharing.strandedBytes == before {}
      id += 3
    }
  }

  @Test("maps no more slabs while clients keep too many that are gone; idle ones are shown out")
  func stranded() throws {
    let fixture = try SharedMemoryFixture()
    let keeper = try fixture.client()
    try strand(fixture, keeper)
    let key = try fixture.store("small", bytes(1000, seed: 1))
    // Who reads something in place is never shown out.
    let held = try #require(try keeper.lend([.init(key: key)], id: 2).inPlace)
    let other = try fixture.client()
    let lent = try #require(try other.lend([.init(key: key)], id: 2).inPlace)
    let refused = try other.exchange(
      .mapSlab(MapSlabRequest(slabID: lent.hits[0].slabID)), id: 3)
    #expect(refused.status == .busy)
    #expect(try refused.error().retryAfterMilliseconds > 0)
    let release = ReleaseRequest(leaseID: held.leaseID)
    #expect(try keeper.status(.release(release), id: 3) == .ok)
    // It is in the way now, and asks nothing for a while.
    let goodbye = try keeper.receive()
    #expect(goodbye.header.operation == .goAway && goodbye.status == .busy)
    #expect(keeper.isAtEnd())
    while fixture.server.context.sharedMemory.strandedBytes > 0 {}
    _ = try other.map(lent.hits[0].slabID, id: 4)
    withExtendedLifetime(fixture) {}
  }

  @Test("passes a slab only to a connection that reads something of it now")
  func foreignSlab() throws {
    let fixture = try SharedMemoryFixture()
    let key = try fixture.store("mine", bytes(1000, seed: 1))
    let owner = try fixture.client()
    let stranger = try fixture.client()
    let lent = try #require(try owner.lend([.init(key: key)], id: 2).inPlace)
    let slab = MapSlabRequest(slabID: lent.hits[0].slabID)
    #expect(try stranger.status(.mapSlab(slab), id: 2) == .notFound)
    for id in [0, 1 << 40, UInt64.max] {
      #expect(try owner.status(.mapSlab(MapSlabRequest(slabID: id)), id: 3) == .notFound)
    }
    #expect(stranger.descriptorCount == 0 && owner.descriptorCount == 0)
    let release = ReleaseRequest(leaseID: lent.leaseID)
    #expect(try stranger.status(.release(release), id: 4) == .notFound)
    withExtendedLifetime(fixture) {}
  }
}
