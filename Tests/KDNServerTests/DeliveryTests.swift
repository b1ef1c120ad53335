import Foundation
import KDNClient
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

@Suite("Delivery by a deadline")
struct DeliveryTests: ServerTesting {
  private static let size = 1 << 20
  private let layout: Layout
  private let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)

  init() throws {
    let group = LayoutGroup(kind: .opaque(bytesPerToken: 1 << 16), layers: [0])
    layout = try Layout(elementType: .i8, groups: [group])
  }

  /// Stores a chain of chunks of 16 tokens and 1 MiB, but those of `holes`.
  private func chain(
    _ client: Client, count: Int, without holes: Set<Int> = []
  ) throws -> [ObjectKey] {
    let id = try client.register(layout).layout
    let root = try HashChain.root(model: "test")
    let hashes = try HashChain.hashes(
      root: root, tokens: Array(0..<UInt32(16 * count)), chunkTokens: 16)
    let keys = hashes.map { ObjectKey(hash: $0, layout: id, part: part) }
    for (index, key) in keys.enumerated() where !holes.contains(index) {
      let facts = PutBeginRequest(
        key: key, parent: index == 0 ? .none : hashes[index - 1], totalBytes: Self.size,
        firstToken: UInt32(16 * index), tokenCount: 16)
      _ = try client.put(facts, bytes: bytes(Self.size, seed: UInt8(index)))
    }
    return keys
  }

  private func get(
    _ client: Client, _ keys: [ObjectKey], _ terms: GetTerms, deadline: UInt32 = 0
  ) throws -> [GetResult] {
    var room = [UInt8](repeating: 0, count: keys.count * Self.size)
    let results = try room.withUnsafeMutableBytes { room in
      try client.connection.get(
        keys.map { GetRequest.Item(key: $0) },
        into: keys.indices.map {
          UnsafeMutableRawBufferPointer(rebasing: room[$0 * Self.size..<($0 + 1) * Self.size])
        }, terms: terms, deadlineMilliseconds: deadline)
    }
    for (index, result) in results.enumerated() where result.miss == nil {
      let found = room[index * Self.size..<(index + 1) * Self.size]
      #expect(found.elementsEqual(bytes(Self.size, seed: UInt8(index))))
    }
    return results
  }

  @Test("with time for all, and with rates that nobody knows, all comes as it was stored")
  func timeForAll() throws {
    let server = try makeServer()
    let client = try connect(server)
    let keys = try chain(client, count: 4)
    for adaptation in [Adaptation(), Adaptation(bytesPerSecond: 1 << 30)] {
      let terms = GetTerms(flags: .exact, acceptedCodecs: .all, adaptation: adaptation)
      let results = try get(client, keys, terms)
      #expect(results.allSatisfy { $0.miss == nil })
    }
    withExtendedLifetime(server) {}
  }

  @Test("what cannot arrive is to be computed again, from the first such chunk on")
  func recompute() throws {
    let server = try makeServer()
    let client = try connect(server)
    let keys = try chain(client, count: 5)
    // At 100 kB/s a chunk takes 10.5 s: two in 25 s.
    let terms = GetTerms(adaptation: Adaptation(bytesPerSecond: 100_000))
    let results = try get(client, keys, terms, deadline: 25_000)
    #expect(results.map(\.miss) == [nil, nil, .recompute, .recompute, .recompute])
    withExtendedLifetime(server) {}
  }

  @Test("computing counts where the client tells its speed")
  func prefill() throws {
    let server = try makeServer()
    let client = try connect(server)
    let keys = try chain(client, count: 5)
    // 10.5 s to send a chunk, 16 s to compute one: nothing is in time, and sending is ready first.
    let slow = Adaptation(bytesPerSecond: 100_000, prefillTokensPerSecond: 1)
    let sent = try get(client, keys, GetTerms(adaptation: slow), deadline: 25_000)
    #expect(sent.allSatisfy { $0.miss == nil })
    // 1 s to compute one: two are sent, or fewer where the machine is slow.
    let fast = Adaptation(bytesPerSecond: 100_000, prefillTokensPerSecond: 16)
    let results = try get(client, keys, GetTerms(adaptation: fast), deadline: 25_000)
    #expect(results.map(\.miss) == [nil, nil, .recompute, .recompute, .recompute])
    withExtendedLifetime(server) {}
  }

  @Test("behind a hole in the chain nothing is sent")
  func hole() throws {
    let server = try makeServer()
    let client = try connect(server)
    let keys = try chain(client, count: 4, without: [1])
    let terms = GetTerms(adaptation: Adaptation(bytesPerSecond: 1 << 30))
    let results = try get(client, keys, terms)
    #expect(results.map(\.miss) == [nil, .neverStored, .recompute, .recompute])
    let plain = try get(client, keys, GetTerms())
    #expect(plain.map(\.miss) == [nil, .neverStored, nil, nil])
    withExtendedLifetime(server) {}
  }

  @Test("in shared memory nothing travels, whatever the client says of its connection")
  func sharedMemory() throws {
    let fixture = try SharedMemoryFixture()
    let client = Client(
      try Connection.open(
        ServerAddress(parsing: "unix://\(fixture.path)", field: "address"),
        namespace: NamespaceName("default"), link: .shm))
    let keys = try chain(client, count: 3)
    let terms = GetTerms(adaptation: Adaptation(bytesPerSecond: 1))
    let results = try get(client, keys, terms, deadline: 25_000)
    #expect(results.allSatisfy { $0.miss == nil })
    withExtendedLifetime(fixture) {}
  }

  @Test("statistics tell what was sent in which form and what was left to be computed")
  func counts() throws {
    let server = try makeServer()
    let client = try connect(server)
    let keys = try chain(client, count: 5)
    let terms = GetTerms(adaptation: Adaptation(bytesPerSecond: 100_000))
    _ = try get(client, keys, terms, deadline: 25_000)
    _ = try get(client, keys, GetTerms())
    let report = server.context.deliveries.report
    #expect(report.codecs.map(\.name) == ["raw"])
    #expect(report.codecs[0].itemsTotal == 7)
    #expect(report.codecs[0].sentBytesTotal == 7 * UInt64(Self.size))
    #expect(report.codecs[0].rawBytesTotal == 7 * UInt64(Self.size))
    #expect(report.adaptedTotal == 1)
    #expect(report.recomputeTotal == 3)
    #expect(report.inexactTotal == 0)
    withExtendedLifetime(server) {}
  }

  @Test("an answer's tally counts each form, and the sum all of them")
  func tally() {
    var tally = DeliveryTally()
    tally.count(.raw, sentBytes: 10, rawBytes: 10)
    tally.count(.small, sentBytes: 2, rawBytes: 20)
    tally.count(.small, sentBytes: 3, rawBytes: 30)
    tally.count(MissCause.recompute)
    tally.count(MissCause.inexact)
    tally.count(MissCause.evicted)
    let counters = DeliveryCounters()
    counters.add(tally)
    counters.add(tally)
    let report = counters.report
    #expect(report.codecs.map(\.name) == ["raw", "small"])
    #expect(report.codecs.map(\.itemsTotal) == [2, 4])
    #expect(report.codecs.map(\.sentBytesTotal) == [20, 10])
    #expect(report.codecs.map(\.rawBytesTotal) == [20, 100])
    #expect(report.recomputeTotal == 2)
    #expect(report.inexactTotal == 2)
  }
}
