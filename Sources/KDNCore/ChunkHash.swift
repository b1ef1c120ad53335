internal import Crypto

/// 32 bytes that name a chunk's tokens and all tokens before it.
package struct ChunkHash: Hashable, Sendable, CustomStringConvertible {
  private let a, b, c, d: UInt64

  /// How many bytes a chunk hash has.
  package static let byteCount = 32
  /// The hash of no chunk: 32 zero bytes, used as the parent of a first chunk.
  package static let none = ChunkHash(a: 0, b: 0, c: 0, d: 0)

  private init(a: UInt64, b: UInt64, c: UInt64, d: UInt64) {
    self.a = a
    self.b = b
    self.c = c
    self.d = d
  }

  /// Takes 32 bytes from `reader`; throws a fault that names `field` if fewer are left.
  @inline(__always)
  package init(from reader: inout ByteReader, field: StaticString = "hash") throws(FieldFault) {
    a = try reader.take(field)
    b = try reader.take(field)
    c = try reader.take(field)
    d = try reader.take(field)
  }

  /// Wraps the 32 bytes of `bytes`; throws a fault if there are more or fewer.
  package init(_ bytes: [UInt8]) throws(FieldFault) {
    var reader = ByteReader(bytes)
    try self.init(from: &reader)
    try reader.finish("hash")
  }

  /// Appends the 32 bytes to `writer`.
  package func write(to writer: inout ByteWriter) {
    writer.put(a, b, c, d)
  }

  /// The 32 bytes.
  package var bytes: [UInt8] {
    var writer = ByteWriter(capacity: Self.byteCount)
    write(to: &writer)
    return writer.bytes
  }

  /// 64 low bits that choose a stripe or stand for the hash in a filter; never proof of equality.
  package var fingerprint: UInt64 { a }

  /// The hash as 64 hexadecimal digits.
  package var description: String { hexadecimal(bytes) }
}

/// The hash chain of a text: a root that names the model, and one hash per chunk of tokens.
///
/// `root = SHA-256("kdn/1" ‖ len‖model ‖ len‖salt)`, `h[i] = SHA-256(h[i-1] ‖ u32le tokens)`.
package enum HashChain {
  /// Longest model name, in bytes of UTF-8.
  package static let modelBytesMax = 512
  /// Longest salt, in bytes.
  package static let saltBytesMax = 512

  /// The root of ordinary texts for a model and a tenant's cache salt.
  ///
  /// - Throws: a fault that names `model` or `salt` if it is empty or too long.
  package static func root(model: String, salt: [UInt8] = []) throws(FieldFault) -> ChunkHash {
    try root(domain: "kdn/1", model: model, salt: salt)
  }

  /// The root of documents that are to be blended: their KV is computed with nothing before it.
  ///
  /// - Throws: a fault that names `model` or `salt` if it is empty or too long.
  package static func documentRoot(
    model: String, salt: [UInt8] = []
  ) throws(FieldFault) -> ChunkHash {
    try root(domain: "kdn/1/doc", model: model, salt: salt)
  }

  /// The hash of the chunk that holds `tokens` and follows the chunk (or root) `previous`.
  package static func next(after previous: ChunkHash, tokens: some Sequence<UInt32>) -> ChunkHash {
    var writer = ByteWriter(capacity: ChunkHash.byteCount + tokens.underestimatedCount * 4)
    previous.write(to: &writer)
    for token in tokens { writer.put(token) }
    return digest(writer)
  }

  /// The hashes of all whole chunks of `tokens`, and of a shorter tail if `includingTail`.
  ///
  /// - Throws: a fault that names `chunkTokens` if it is not 16 to 4096.
  package static func hashes(
    root: ChunkHash, tokens: [UInt32], chunkTokens: Int = 256, includingTail: Bool = false
  ) throws(FieldFault) -> [ChunkHash] {
    guard (16...4096).contains(chunkTokens) else {
      throw FieldFault("chunkTokens", value: chunkTokens, limit: 4096, "must be 16 to 4096")
    }
    var hashes: [ChunkHash] = []
    var previous = root
    var start = 0
    while start < tokens.count {
      let end = min(start + chunkTokens, tokens.count)
      if end - start < chunkTokens && !includingTail { break }
      previous = next(after: previous, tokens: tokens[start..<end])
      hashes.append(previous)
      start = end
    }
    return hashes
  }

  private static func root(
    domain: String, model: String, salt: [UInt8]
  ) throws(FieldFault) -> ChunkHash {
    let name = Array(model.utf8)
    guard (1...modelBytesMax).contains(name.count) else {
      throw FieldFault("model", value: name.count, limit: modelBytesMax, "must be 1 to 512 bytes")
    }
    guard salt.count <= saltBytesMax else {
      throw FieldFault("salt", value: salt.count, limit: saltBytesMax, "too long")
    }
    var writer = ByteWriter(capacity: 32 + name.count + salt.count)
    writer.put(contentsOf: domain.utf8)
    writer.put(UInt32(name.count))
    writer.put(contentsOf: name)
    writer.put(UInt32(salt.count))
    writer.put(contentsOf: salt)
    return digest(writer)
  }

  private static func digest(_ writer: ByteWriter) -> ChunkHash {
    let digest = SHA256.hash(data: writer.bytes)
    do {
      return try ChunkHash(Array(digest))
    } catch {
      preconditionFailure("SHA-256 gave other than 32 bytes: \(error)")
    }
  }

  /// Names the form of a document's chunk that a settling made of it: SHA-256 of `kdn/1/settled`,
  /// the settling's name and the chunk's hash.
  package static func settled(_ chunk: ChunkHash, by settling: ChunkHash) -> ChunkHash {
    let domain = "kdn/1/settled"
    var writer = ByteWriter(capacity: domain.utf8.count + 2 * ChunkHash.byteCount)
    writer.put(contentsOf: domain.utf8)
    settling.write(to: &writer)
    chunk.write(to: &writer)
    return digest(writer)
  }

  /// The hash of an opaque object's key: SHA-256 of the client's key bytes.
  package static func opaque(_ key: [UInt8]) -> ChunkHash {
    var writer = ByteWriter(capacity: key.count)
    writer.put(contentsOf: key)
    return digest(writer)
  }
}

/// Writes bytes as lower-case hexadecimal digits.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  let digits = Array("0123456789abcdef".utf8)
  var text: [UInt8] = []
  for byte in bytes {
    text.append(digits[Int(byte >> 4)])
    text.append(digits[Int(byte & 15)])
  }
  return String(decoding: text, as: UTF8.self)
}
