import Foundation
import KDNClient
import KDNCodec
import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

@Suite("Serving encoded objects")
struct EncodedServingTests {
  private static let links = [LinkChoice.tcp, .unix, .shm]

  @Test("who accepts a codec gets the encoded object, on every link", arguments: links)
  func accepted(link: LinkChoice) throws {
    let chunks = try EncodedChunks()
    try chunks.recode(to: .exact)
    let (result, bytes) = try chunks.get(
      try chunks.client(link), GetTerms(acceptedCodecs: .all))
    guard case .encoded(.exact, let count, let objectBytes, let checksum) = result else {
      Issue.record("\(result)")
      return
    }
    #expect(count < chunks.stored.count && objectBytes == chunks.stored.count)
    #expect(checksum == Checksum(of: chunks.stored))
    #expect(try chunks.decoded(bytes) == chunks.stored)
  }

  @Test("who does not accept it gets what was stored, decoded by the daemon", arguments: links)
  func decodedByDaemon(link: LinkChoice) throws {
    let chunks = try EncodedChunks()
    try chunks.recode(to: .exact)
    for codecs in [CodecSet.raw, CodecSet([.high, .zstd])] {
      let (result, bytes) = try chunks.get(
        try chunks.client(link), GetTerms(flags: .exact, acceptedCodecs: codecs))
      #expect(result.miss == nil)
      #expect(bytes == chunks.stored)
    }
  }

  @Test("layers and ranges come raw, whatever is accepted", arguments: links)
  func selections(link: LinkChoice) throws {
    let chunks = try EncodedChunks()
    try chunks.recode(to: .exact)
    let client = try chunks.client(link)
    let part = Part(firstLayer: 1, layerCount: 1, firstKVHead: 1, kvHeadCount: 1)
    let ranges = try LayoutGeometry(chunks.layout).ranges(
      of: part, in: chunks.part, tokens: EncodedChunks.tokens)
    let terms = GetTerms(acceptedCodecs: .all)
    let (_, layer) = try chunks.get(client, terms, selection: .part(part))
    #expect(layer == ranges.flatMap { chunks.stored[$0] })
    let (_, range) = try chunks.get(client, terms, selection: .ranges([100..<300]))
    #expect(range == Array(chunks.stored[100..<300]))
  }

  @Test("of what is kept in a lossy codec the daemon sends the very bytes that a client decodes")
  func lossy() throws {
    let chunks = try EncodedChunks()
    try chunks.recode(to: .high)
    let client = try chunks.client(.tcp)
    let (encoded, object) = try chunks.get(client, GetTerms(acceptedCodecs: CodecSet([.high])))
    guard case .encoded(.high, _, _, let checksum) = encoded else {
      Issue.record("\(encoded)")
      return
    }
    #expect(checksum == Checksum(of: chunks.stored))
    let decoded = try chunks.decoded(object)
    #expect(decoded != chunks.stored)
    let (raw, bytes) = try chunks.get(client, GetTerms())
    #expect(bytes == decoded)
    #expect(
      raw
        == .hit(
          bytes: decoded.count, objectBytes: decoded.count, objectChecksum: Checksum(of: decoded)))
  }

  @Test("who asks for the very bytes misses what is kept in a lossy codec", arguments: links)
  func exact(link: LinkChoice) throws {
    let chunks = try EncodedChunks()
    try chunks.recode(to: .high)
    let client = try chunks.client(link)
    for codecs in [CodecSet.raw, .all] {
      let terms = GetTerms(flags: .exact, acceptedCodecs: codecs)
      #expect(try chunks.get(client, terms).result == .miss(.inexact))
      let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 2)
      #expect(
        try chunks.get(client, terms, selection: .part(part)).result == .miss(.inexact))
    }
    let report = chunks.server.context.deliveries.report
    #expect(report.inexactTotal == 4)
  }

  @Test("a stored profile encodes, and client and daemon decode with it")
  func profile() throws {
    let chunks = try EncodedChunks()
    let client = try chunks.client(.tcp)
    let (hash, stored) = try chunks.useWeights(client)
    let pool = chunks.server.context.pool
    let namespace = try pool.namespace(NamespaceName("default"))
    try chunks.recode(to: .balanced, beside: 1)
    let terms = GetTerms(acceptedCodecs: CodecSet([.balanced]))
    let (encoded, object) = try chunks.get(client, terms)
    guard case .encoded(.balanced, _, _, _) = encoded else {
      Issue.record("\(encoded)")
      return
    }
    #expect(try EncodedHeader(reading: object).profile?.bytes == hash.bytes)
    var bytes = [UInt8](repeating: 0, count: stored.count)
    let fetched = try bytes.withUnsafeMutableBytes {
      try client.connection.getProfile(hash, into: $0)
    }
    #expect(fetched.miss == nil && bytes == stored)
    let decoded = try chunks.decoded(object, profile: Profile(validating: bytes))
    #expect(try chunks.get(client, GetTerms()).bytes == decoded)
    // One that has forgotten all profiles finds it where it is stored, and not once it is gone.
    let name = try NamespaceName("default")
    #expect(LoadedProfiles(pool: pool).find(hash, in: name)?.hash.bytes == hash.bytes)
    #expect(LoadedProfiles(pool: pool).find(HashChain.opaque([3]), in: name) == nil)
    _ = try client.purge(.keys([CodecProfileRequest.key(of: hash)]))
    #expect(LoadedProfiles(pool: pool).find(hash, in: name) == nil)
    #expect(pool.contains(chunks.keys[0], in: namespace))
  }

  @Test("encoded bytes meet a deadline that raw ones cannot")
  func deadline() throws {
    let chunks = try EncodedChunks(count: 4)
    let client = try chunks.client(.tcp)
    let size = chunks.stored.count
    // Raw, two of four chunks arrive in 25 s; encoded ones take less than two thirds of the bytes.
    let speed = Adaptation(bytesPerSecond: UInt64(size) * 3 / 25)
    func misses(_ codecs: CodecSet) throws -> [MissCause?] {
      var room = [UInt8](repeating: 0, count: 4 * size)
      return try room.withUnsafeMutableBytes { room in
        try client.connection.get(
          chunks.keys.map { GetRequest.Item(key: $0) },
          into: (0..<4).map {
            UnsafeMutableRawBufferPointer(rebasing: room[$0 * size..<($0 + 1) * size])
          }, terms: GetTerms(acceptedCodecs: codecs, adaptation: speed),
          deadlineMilliseconds: 24_000)
      }.map(\.miss)
    }
    #expect(try misses(.all) == [nil, nil, .recompute, .recompute], "nothing is encoded yet")
    try chunks.recode(to: .high)
    #expect(try misses(.all) == [nil, nil, nil, nil])
    #expect(try misses(.raw) == [nil, nil, .recompute, .recompute])
    let codecs = chunks.server.context.deliveries.report.codecs
    #expect(codecs.map(\.name) == ["raw", "high"])
    #expect(codecs[1].itemsTotal == 4 && codecs[1].rawBytesTotal == UInt64(4 * size))
    #expect(codecs[1].sentBytesTotal < UInt64(4 * size) / 2)
  }

  @Test("the policy of the configuration encodes what nobody uses, and the reader sees it")
  func policy() throws {
    struct Tester: ServerTesting {}
    let server = try Tester().makeServer(["codec_opaque": ["zstd"], "codec_age": ["0"]])
    let client = try Tester().connect(server)
    let bytes = [UInt8](repeating: 7, count: 1 << 20)
    let key = Tester().opaque("zeros")
    _ = try client.put(PutBeginRequest(key: key, totalBytes: bytes.count), bytes: bytes)
    var room = [UInt8](repeating: 0, count: bytes.count)
    var result = GetResult.miss(.neverStored)
    var isEncoded = false
    while !isEncoded {
      result = try room.withUnsafeMutableBytes {
        try client.connection.get(
          [GetRequest.Item(key: key)], into: [$0],
          terms: GetTerms(flags: .exact, acceptedCodecs: CodecSet([.zstd])))[0]
      }
      if case .encoded = result { isEncoded = true }
    }
    #expect(result.bytes < 1000)
    #expect(try client.get(key, capacity: bytes.count).bytes == bytes)
    withExtendedLifetime(server) {}
  }
}
