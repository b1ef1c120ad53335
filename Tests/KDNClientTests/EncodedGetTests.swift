import KDNCore
import KDNWire
import Testing

@testable import KDNClient

@Suite("A GET of encoded bytes")
struct EncodedGetTests {
  private let encoded = pattern(700)

  /// An object of 5000 bytes, encoded to `encoded`.
  private func descriptor(
    _ codec: PayloadCodec = .small, sentChecksum: Checksum? = nil
  ) -> GetDescriptor {
    GetDescriptor(
      objectBytes: 5_000, sentBytes: encoded.count, objectChecksum: Checksum(77),
      sentChecksum: sentChecksum ?? Checksum(of: encoded), codec: codec)
  }

  private func get(
    _ answer: GetDescriptor, _ terms: GetTerms, selection: GetRequest.Selection = .whole,
    room: Int = 5_000, verifies: Bool = true
  ) throws -> (GetResult, [UInt8]) {
    let server = ScriptedServer()
    let connection = try server.greeted()
    connection.verifies = verifies
    server.say(Frames.get([answer], payload: encoded))
    var buffer = [UInt8](repeating: 0, count: room)
    let item = GetRequest.Item(key: try opaqueKey(1), selection: selection)
    let results = try buffer.withUnsafeMutableBytes {
      try connection.get([item], into: [$0], terms: terms)
    }
    return (results[0], buffer)
  }

  @Test("gives the codec and the bytes as they were sent", arguments: [true, false])
  func accepted(verifies: Bool) throws {
    let terms = GetTerms(acceptedCodecs: CodecSet([.small]))
    let (result, buffer) = try get(descriptor(), terms, verifies: verifies)
    #expect(
      result
        == .encoded(.small, bytes: 700, objectBytes: 5_000, objectChecksum: Checksum(77)))
    #expect(result.bytes == 700 && result.miss == nil)
    #expect(Array(buffer[..<700]) == encoded)
  }

  @Test("takes no codec that it did not ask for", arguments: [PayloadCodec.high, .zstd])
  func notAccepted(codec: PayloadCodec) throws {
    for terms in [GetTerms(), GetTerms(acceptedCodecs: CodecSet([.small]))] {
      #expect(try get(descriptor(codec), terms).0 == .miss(.corrupt))
    }
  }

  @Test("takes no encoded bytes where ranges were asked for")
  func ranges() throws {
    let terms = GetTerms(acceptedCodecs: .all)
    let (result, _) = try get(descriptor(), terms, selection: .ranges([0..<700]))
    #expect(result == .miss(.corrupt))
  }

  @Test("takes no bytes that are not the ones announced")
  func damaged() throws {
    let terms = GetTerms(acceptedCodecs: .all)
    let (result, _) = try get(descriptor(sentChecksum: Checksum(1)), terms)
    #expect(result == .miss(.corrupt))
  }

  @Test("says how much room encoded bytes need")
  func noRoom() throws {
    let terms = GetTerms(acceptedCodecs: .all)
    let (result, _) = try get(descriptor(), terms, room: 699)
    #expect(result == .noRoom(bytes: 700))
  }

  @Test("tells the server codecs, rates and flags")
  func terms() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    connection.verifies = false
    server.say(Frames.get([GetDescriptor(miss: .recompute)], payload: []))
    let adaptation = Adaptation(bytesPerSecond: 5, prefillTokensPerSecond: 9)
    let terms = GetTerms(
      flags: .exact, acceptedCodecs: CodecSet([.exact, .zstd]), adaptation: adaptation)
    let item = GetRequest.Item(key: try opaqueKey(1))
    let results = try connection.get([item], into: [.init(start: nil, count: 0)], terms: terms)
    #expect(results == [.miss(.recompute)])
    let (header, body, _) = try server.hearFrame()
    let request = try Request.decode(
      try #require(header.operation), body: ByteReader(body), limits: Limits())
    guard case .get(let get) = request else {
      Issue.record("not a GET")
      return
    }
    #expect(get.flags == [.exact, .adapt, .unverified])
    #expect(get.acceptedCodecs == CodecSet([.exact, .zstd]))
    #expect(get.adaptation == adaptation)
  }
}
