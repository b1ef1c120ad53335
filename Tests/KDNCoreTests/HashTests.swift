import KDNCore
import Testing

@Suite("Chunk hashes and keys")
struct HashTests {
  @Test("a chain has the vector's root and hashes", arguments: Vectors.hashes.chains)
  func chain(_ vector: ChainVector) throws {
    let fields = vector.fields
    let salt = unhex(fields.salt)
    let root = try HashChain.root(model: fields.model, salt: salt)
    #expect("\(root)" == vector.root)
    let whole = try HashChain.hashes(
      root: root, tokens: fields.tokens, chunkTokens: fields.chunkTokens)
    #expect(whole.map(\.description) == vector.hashes)
    let all = try HashChain.hashes(
      root: root, tokens: fields.tokens, chunkTokens: fields.chunkTokens, includingTail: true)
    #expect(all.map(\.description) == vector.hashes + [vector.tail].compactMap { $0 })
  }

  @Test("a document's chain has its own root", arguments: Vectors.hashes.chains)
  func documentChain(_ vector: ChainVector) throws {
    let fields = vector.fields
    let root = try HashChain.documentRoot(model: fields.model, salt: unhex(fields.salt))
    #expect("\(root)" == vector.documentRoot)
    let all = try HashChain.hashes(
      root: root, tokens: fields.tokens, chunkTokens: fields.chunkTokens, includingTail: true)
    #expect(
      all.map(\.description) == vector.documentHashes + [vector.documentTail].compactMap { $0 })
  }

  @Test("a chain outside its limits is refused", arguments: Vectors.hashes.invalidChains)
  func invalidChain(_ vector: InvalidChainVector) {
    let found = fault {
      let root = try HashChain.root(model: vector.fields.model, salt: unhex(vector.fields.salt))
      _ = try HashChain.hashes(
        root: root, tokens: [], chunkTokens: vector.fields.chunkTokens ?? 256)
    }
    #expect(found?.field == vector.field)
  }

  @Test("a change of any token changes its chunk and all after it, none before")
  func avalanche() throws {
    let root = try HashChain.root(model: "m")
    var tokens = (0..<64).map { UInt32($0) }
    let before = try HashChain.hashes(root: root, tokens: tokens, chunkTokens: 16)
    tokens[20] += 1
    let after = try HashChain.hashes(root: root, tokens: tokens, chunkTokens: 16)
    #expect(before[0] == after[0])
    for index in 1..<4 { #expect(before[index] != after[index]) }
  }

  @Test("a key has the vector's 64 bytes and decodes from them", arguments: Vectors.hashes.keys)
  func key(_ vector: KeyVector) throws {
    var reader = ByteReader(unhex(vector.hex))
    let decoded = try ObjectKey(from: &reader)
    #expect(reader.remaining == 0)
    let fields = vector.fields
    let expected: ObjectKey
    if let clientKey = fields.clientKey {
      expected = ObjectKey(opaque: HashChain.opaque(unhex(clientKey)))
      #expect(decoded.kind == .opaque)
    } else {
      var id = ByteReader(unhex(try #require(fields.layoutID)))
      expected = ObjectKey(
        hash: try ChunkHash(unhex(try #require(fields.hash))), layout: try LayoutID(from: &id),
        part: try #require(fields.part).part, variant: try #require(fields.variant))
      #expect("\(decoded.layout)" == fields.layoutID)
    }
    #expect(decoded == expected)
    var writer = ByteWriter()
    expected.write(to: &writer)
    #expect(hexadecimal(writer.bytes) == vector.hex)
  }

  @Test("a malformed key is refused", arguments: Vectors.hashes.invalidKeys)
  func invalidKey(_ vector: InvalidVector) {
    let found = fault {
      var reader = ByteReader(unhex(vector.hex))
      _ = try ObjectKey(from: &reader)
    }
    // The four fields of an opaque key's part, which must all be 0, are refused together.
    let names =
      vector.name.hasPrefix("opaque") && vector.field != "variant" && vector.field != "layoutID"
      ? [vector.field, "part"] : [vector.field]
    #expect(names.contains(found?.field ?? ""))
  }

  @Test("a hash of other than 32 bytes is refused", arguments: [0, 31, 33])
  func hashLength(_ count: Int) {
    #expect(fault { _ = try ChunkHash([UInt8](repeating: 1, count: count)) }?.field == "hash")
  }

  @Test(
    "XXH3-64 has the reference's values",
    arguments: [
      ("", 0x2D06_8005_38D3_94C2), ("a", 0xE6C6_32B6_1E96_4E1F), ("abc", 0x78AF_5F94_892F_3950),
    ] as [(String, UInt64)])
  func checksum(_ text: String, _ expected: UInt64) {
    #expect(Checksum(of: Array(text.utf8)).value == expected)
    #expect(Checksum(of: text.utf8).value == expected)
    let padded = Array(text.utf8) + [1, 2, 3]
    #expect(Checksum(of: padded, first: text.utf8.count).value == expected)
    #expect(
      ByteReader([9] + padded, in: 1..<4 + text.utf8.count)
        .checksum(next: text.utf8.count).value == expected)
  }
}
