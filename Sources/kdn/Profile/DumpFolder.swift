internal import FoundationEssentials
internal import KDNCore
internal import KDNProfile

/// A directory with dumped KV: pairs of NAME.kv and NAME.json.
struct DumpFolder {
  /// What a JSON file says of its payload.
  struct Facts: Decodable {
    let firstToken: UInt64
    let tokenCount: Int
    /// First layer, layers, first head, heads; left out for the whole layout.
    let part: [UInt16]?
  }

  private struct Entry {
    let path: String
    let facts: Facts
    let part: Part
  }

  private static let factsBytesMax = 1 << 16
  private let path: String
  private let entries: [Entry]

  /// Reads the JSON files of the directory; `whole` is the part of payloads that name none.
  ///
  /// - Throws: `FileFault` if a file cannot be read, a fault that names `dump` if there is no pair,
  ///   `part` or `token_count` if a file says none that could be.
  init(_ path: String, whole: Part?) throws {
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: path)
    } catch {
      throw FieldFault("dump", value: 0, limit: 0, "'\(path)' cannot be listed")
    }
    self.path = path
    entries = try names.filter { $0.hasSuffix(".kv") }.sorted().map { name in
      let stem = "\(path)/\(name.dropLast(3))"
      let facts = try Self.facts("\(stem).json")
      return Entry(path: "\(stem).kv", facts: facts, part: try Self.part(facts, whole, name))
    }
    guard !entries.isEmpty else {
      throw FieldFault("dump", value: 0, limit: 1, "no NAME.kv in '\(path)'")
    }
  }

  /// Gives the chunks of `part` to `body`, with the bytes done and those of all.
  ///
  /// All of them, or as many as have `tokensMax` tokens, evenly spread over the directory.
  ///
  /// - Throws: `FileFault` if a file cannot be read; what `body` throws.
  func chunks(
    of part: Part, tokensMax: Int, bytesPerToken: Int,
    _ body: (KVChunk, _ done: Int, _ total: Int) throws -> Void
  ) throws {
    let ofPart = entries.filter { $0.part == part }
    let counts = ofPart.map(\.facts.tokenCount)
    let chosen = ChunkChoice.spread(counts, tokensMax: tokensMax).map { ofPart[$0] }
    let tokens = chosen.reduce(0) { $0 + $1.facts.tokenCount }
    var done = 0
    for entry in chosen {
      let count = entry.facts.tokenCount
      let bytes = try FileBytes.read(entry.path, limit: count * bytesPerToken)
      done += count * bytesPerToken
      let chunk = KVChunk(bytes: bytes, firstToken: entry.facts.firstToken, tokenCount: count)
      try body(chunk, done, tokens * bytesPerToken)
    }
  }

  private static func facts(_ path: String) throws -> Facts {
    let bytes = try FileBytes.read(path, limit: factsBytesMax)
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    do {
      let facts = try decoder.decode(Facts.self, from: Data(bytes))
      guard (1...KVChunk.tokenCountMax).contains(facts.tokenCount) else {
        throw FieldFault(
          "token_count", value: facts.tokenCount, limit: KVChunk.tokenCountMax, "in '\(path)'")
      }
      return facts
    } catch let fault as FieldFault {
      throw fault
    } catch {
      throw FieldFault("dump", value: bytes.count, limit: 0, "'\(path)' is not such JSON: \(error)")
    }
  }

  private static func part(_ facts: Facts, _ whole: Part?, _ name: String) throws -> Part {
    if let numbers = facts.part {
      guard numbers.count == 4 else {
        throw FieldFault("part", value: numbers.count, limit: 4, "'\(name)' names no part")
      }
      return Part(
        firstLayer: numbers[0], layerCount: numbers[1], firstKVHead: numbers[2],
        kvHeadCount: numbers[3])
    }
    guard let whole else {
      throw FieldFault("part", value: 0, limit: 4, "'\(name)' must name its part")
    }
    return whole
  }
}
