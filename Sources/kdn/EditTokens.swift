internal import ArgumentParser
internal import FoundationEssentials
internal import KDNClient
internal import KDNCore
internal import KDNWire

/// Which tokens an operation is about: runs of them, or a phrase that they stand for.
struct EditTokens: ParsableArguments {
  @Argument(help: "Runs of tokens, such as 12-20; ascending and disjoint.")
  var spans: [TokenSpan] = []
  @Option(
    help: """
      A phrase in the place of runs, letter by letter as in the document; it must have been \
      learned from text.
      """)
  var text: String?
  @Option(help: "Which occurrence of the phrase is meant, from 1; else there may be one only.")
  var occurrence: Int?
  @Flag(help: "All occurrences of the phrase are meant.")
  var all = false

  /// Whether no tokens are named at all.
  var isEmpty: Bool { spans.isEmpty && text == nil }

  func validate() throws {
    guard spans.isEmpty || text == nil else {
      throw ValidationError("--text stands in the place of runs of tokens")
    }
    guard text != nil || occurrence == nil && !all else {
      throw ValidationError("--occurrence and --all are for --text")
    }
    guard occurrence == nil || !all else {
      throw ValidationError("--occurrence names one, --all means each")
    }
    guard occurrence ?? 1 >= 1 else { throw ValidationError("--occurrence: at least 1") }
    guard text.map({ (1...TokenTexts.phraseBytesMax).contains($0.utf8.count) }) ?? true else {
      throw ValidationError("--text takes 1 to \(TokenTexts.phraseBytesMax) bytes")
    }
  }

  /// The runs as they were typed; nil if they are to be found by a phrase.
  ///
  /// - Throws: `FieldFault` that names `span`.
  func typed() throws(FieldFault) -> TokenSpans? {
    text == nil ? try TokenSpans(spans.map(\.range)) : nil
  }

  /// The tokens of the phrase in the document that `name` stands for, and the epoch that has them.
  func find(in name: String, _ client: Client) throws -> (spans: TokenSpans, epoch: UInt64) {
    let (document, epoch) = try client.resolve(document: name)
    let (bytes, cause) = try client.texts(of: document)
    if let cause { throw TextsFault(why: "are not kept: \(cause.name)") }
    let texts = try TokenTexts(decoding: bytes)
    guard texts.ends.count == document.tokenCount else {
      throw TextsFault(why: "are of \(texts.ends.count) tokens, not \(document.tokenCount)")
    }
    let choice = occurrence.map { PhraseChoice.number($0) } ?? (all ? .all : .only)
    return (try texts.spans(of: text ?? "", choice), epoch)
  }
}

/// A phrase cannot be looked for.
struct TextsFault: Error, CustomStringConvertible {
  let why: String

  var description: String {
    "the texts of this document's tokens \(why); give runs of tokens, or learn it from text"
  }
}

/// Which share of a document `keep` keeps, and by what.
struct KeepArguments: ParsableArguments {
  /// Longest file of scores.
  private static let fileBytesMax = 8 << 20

  @Option(help: "For keep: so many thousandths of the tokens stay, those with the highest scores.")
  var permille: Int?
  @Option(
    help: """
      For keep: a file with one number for each token, a JSON array or numbers with white space \
      between; - for standard input.
      """)
  var scores: String?

  /// Whether anything is said.
  var isEmpty: Bool { permille == nil && scores == nil }

  func validate() throws {
    guard (permille == nil) == (scores == nil) else {
      throw ValidationError("--permille and --scores go together")
    }
    guard (1...1000).contains(permille ?? 1) else {
      throw ValidationError("--permille takes 1 to 1000")
    }
  }

  /// The operation.
  ///
  /// - Throws: `FileFault`, `ValidationError` for a file of something else, `FieldFault` for
  ///   numbers that are too many or not finite.
  func operation() throws -> EditOperation {
    let path = scores ?? "-"
    let bytes = try FileBytes.read(path, limit: Self.fileBytesMax)
    let operation = EditOperation.keep(
      permille: permille ?? 1000, scores: try Self.numbers(bytes, path))
    try operation.check()
    return operation
  }

  static func numbers(_ bytes: [UInt8], _ path: String) throws -> [Float] {
    let text = String(decoding: bytes, as: UTF8.self)
    if text.first(where: { !$0.isWhitespace }) == "[" {
      guard let numbers = try? JSONDecoder().decode([Float].self, from: Data(bytes)) else {
        throw ValidationError("\(path) is not a JSON array of numbers")
      }
      return numbers
    }
    return try text.split(whereSeparator: \.isWhitespace).enumerated().map { place, word in
      guard let number = Float(word) else {
        throw ValidationError("\(path): number \(place + 1) is '\(word.prefix(40))'")
      }
      return number
    }
  }
}
