internal import ArgumentParser
internal import KDNCore
internal import KDNWire

/// `kdn match`: how much of a text's KV is there.
struct MatchCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "match",
    abstract: "Finds the longest stored prefix of a chain of chunks; 1 if not all is there.",
    discussion: """
      The chain is given as chunk hashes, or as a file of token numbers (with blanks or commas \
      between) from which it is computed.
      """)

  @OptionGroup var common: CommonOptions
  @Argument(help: "Chunk hashes of 64 digits, first chunk first.")
  var hashes: [String] = []
  @Option(help: "Layout id, 32 digits.")
  var layout: String
  @Option(help: "Part, FIRST_LAYER:LAYERS:FIRST_HEAD:HEADS; may be given several times.")
  var part: [String]
  @Option(help: "The model's name, with --tokens-file.")
  var model: String?
  @Option(help: "The tenant's cache salt, with --tokens-file.")
  var salt = ""
  @Option(help: "File of token numbers; - is standard input.")
  var tokensFile: String?
  @Option(help: "Tokens of one chunk, with --tokens-file.")
  var chunkTokens = 256
  @Option(help: "Form of the KV; 0 is what was stored.")
  var variant: UInt32 = 0

  private static let tokensBytesMax = 64 << 20

  func validate() throws {
    guard hashes.isEmpty == (tokensFile != nil) else {
      throw ValidationError("give hashes or --tokens-file, and not both")
    }
    guard tokensFile == nil || model != nil else {
      throw ValidationError("--tokens-file needs --model")
    }
    _ = try Hexadecimal.layoutID(layout)
    _ = try hashes.map { try Hexadecimal.chunkHash($0) }
    _ = try part.map(Self.part)
  }

  func answer() throws -> Bool {
    let chain = try chain()
    guard !chain.isEmpty else {
      throw FieldFault("tokens-file", value: 0, limit: chunkTokens, "not one whole chunk")
    }
    let found = try common.client().match(
      MatchRequest(
        hashes: chain, parts: try part.map(Self.part), layout: Hexadecimal.layoutID(layout),
        variant: variant))
    let answer = MatchAnswer(
      chunks: chain.count, matchedChunks: found.matchedChunks, matchedBytes: found.matchedBytes,
      miss: found.miss?.name)
    if common.json {
      try Output.line(answer)
    } else {
      let miss = answer.miss.map { ", then \($0)" } ?? ""
      Output.line(
        "\(answer.matchedChunks) of \(answer.chunks) chunks, \(answer.matchedBytes) bytes\(miss)")
    }
    return found.matchedChunks == chain.count
  }

  private func chain() throws -> [ChunkHash] {
    guard let tokensFile, let model else { return try hashes.map { try Hexadecimal.chunkHash($0) } }
    let bytes = try FileBytes.read(tokensFile, limit: Self.tokensBytesMax)
    let words = String(decoding: bytes, as: UTF8.self)
      .split { $0.isWhitespace || ",[]".contains($0) }
    let tokens = try words.map { word in
      guard let token = UInt32(word) else {
        throw FieldFault(
          "tokens-file", value: word.utf8.count, limit: 10, "'\(word)' is not a token number")
      }
      return token
    }
    let root = try HashChain.root(model: model, salt: Array(salt.utf8))
    return try HashChain.hashes(root: root, tokens: tokens, chunkTokens: chunkTokens)
  }

  private static func part(_ text: String) throws -> Part {
    let numbers = text.split(separator: ":").compactMap { UInt16($0) }
    guard numbers.count == 4,
      text.split(separator: ":", omittingEmptySubsequences: false).count == 4
    else { throw ValidationError("'\(text)' is not FIRST_LAYER:LAYERS:FIRST_HEAD:HEADS") }
    return Part(
      firstLayer: numbers[0], layerCount: numbers[1], firstKVHead: numbers[2],
      kvHeadCount: numbers[3])
  }
}

/// What the daemon has of a chain.
private struct MatchAnswer: Encodable {
  let chunks: Int
  let matchedChunks: Int
  let matchedBytes: Int
  let miss: String?
}
