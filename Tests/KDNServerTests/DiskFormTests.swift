import Foundation
import KDNClient
import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

@Suite("Forms on disk that RAM has not")
struct DiskFormTests {
  /// Waits until all chunks are in RAM and on disk in these forms.
  private func wait(
    for chunks: EncodedChunks, ram: PayloadCodec, disk: PayloadCodec
  ) throws {
    let pool = chunks.server.context.pool
    let namespace = try pool.namespace(NamespaceName("default"))
    let client = try chunks.client(.tcp)
    for key in chunks.keys {
      var codecs: [UInt8] = []
      while codecs != [ram.rawValue, disk.rawValue] {
        try client.ping()
        codecs = pool.forms(of: key, in: namespace)?.forms.map { $0.form?.codec ?? 0 } ?? []
      }
    }
  }

  private func get(
    _ chunks: EncodedChunks, _ terms: GetTerms, deadline: UInt32 = 24_000,
    link: LinkChoice = .tcp
  ) throws -> [GetResult] {
    let (count, size) = (chunks.keys.count, chunks.stored.count)
    var room = [UInt8](repeating: 0, count: count * size)
    let client = try chunks.client(link)
    let results = try room.withUnsafeMutableBytes { room in
      try client.connection.get(
        chunks.keys.map { GetRequest.Item(key: $0) },
        into: (0..<count).map {
          UnsafeMutableRawBufferPointer(rebasing: room[$0 * size..<($0 + 1) * size])
        }, terms: terms, deadlineMilliseconds: deadline)
    }
    for (index, result) in results.enumerated() {
      let bytes = Array(room[index * size..<index * size + result.bytes])
      switch result {
      case .hit: #expect(bytes == chunks.stored)
      case .encoded: #expect(try chunks.decoded(bytes).count == size)
      case .noRoom, .miss: break
      }
    }
    return results
  }

  private func names(_ results: [GetResult]) -> [String] {
    results.map { result in
      switch result {
      case .hit: "raw"
      case .encoded(let codec, _, _, _): codec.name
      case .noRoom: "no room"
      case .miss(let cause): "\(cause)"
      }
    }
  }

  @Test("chunks that are raw in RAM are sent in the disk's shorter form where only that is in time")
  func shorter() throws {
    let disk = try DiskFixture()
    let chunks = try EncodedChunks(
      count: 4, disk.flags.merging(["codec_disk": ["high"]]) { $1 })
    try wait(for: chunks, ram: .raw, disk: .high)
    // Raw, two of four chunks arrive in 24 s; a high one takes less than two of the 8.3 s.
    let speed = Adaptation(bytesPerSecond: UInt64(chunks.stored.count) * 3 / 25)
    let all = GetTerms(acceptedCodecs: .all, adaptation: speed)
    #expect(names(try get(chunks, all)) == ["raw", "raw", "high", "high"])
    let exact = GetTerms(flags: .exact, acceptedCodecs: .all, adaptation: speed)
    #expect(names(try get(chunks, exact)) == ["raw", "raw", "recompute", "recompute"])
    let raw = GetTerms(adaptation: speed)
    #expect(names(try get(chunks, raw)) == ["raw", "raw", "recompute", "recompute"])
    // Nothing is read where there is time for all, where nobody asks, and in shared memory.
    let fast = GetTerms(acceptedCodecs: .all, adaptation: Adaptation(bytesPerSecond: 1 << 30))
    let plain = GetTerms(acceptedCodecs: .all)
    #expect(names(try get(chunks, fast)) == ["raw", "raw", "raw", "raw"])
    #expect(names(try get(chunks, plain)) == ["raw", "raw", "raw", "raw"])
    #expect(names(try get(chunks, all, link: .shm)) == ["raw", "raw", "raw", "raw"])
    #expect(chunks.server.context.pool.statistics.fetches.readBytes > 0)
  }

  @Test("what RAM has in a lossy form is read from disk for who wants the very bytes")
  func exact() throws {
    let disk = try DiskFixture()
    let chunks = try EncodedChunks(
      count: 2, disk.flags.merging(["codec_ram": ["high"], "codec_age": ["0"]]) { $1 })
    try wait(for: chunks, ram: .high, disk: .raw)
    for codecs in [CodecSet.raw, .all] {
      let terms = GetTerms(flags: .exact, acceptedCodecs: codecs)
      #expect(names(try get(chunks, terms)) == ["raw", "raw"])
    }
    #expect(names(try get(chunks, GetTerms(acceptedCodecs: .all))) == ["high", "high"])
    // With time for the better form that is sent, without it RAM's.
    let fast = Adaptation(bytesPerSecond: 1 << 30)
    let slow = Adaptation(bytesPerSecond: UInt64(chunks.stored.count) / 16)
    #expect(
      names(try get(chunks, GetTerms(acceptedCodecs: .all, adaptation: fast))) == ["raw", "raw"])
    #expect(
      names(try get(chunks, GetTerms(acceptedCodecs: .all, adaptation: slow))) == ["raw", "high"])
  }
}
