internal import ArgumentParser
internal import KDNCore
internal import KDNWire

/// `kdn edit`: how a document's KV is delivered, without a change of what is stored.
struct EditCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "edit",
    abstract: "Adds, lists and reverts operations on a document's KV.",
    discussion: """
      What is stored is never changed: operations are kept beside the document, apply wherever it \
      is blended from then on, and without them it is what it was. A document that is published \
      anew has none.
      """,
    subcommands: [AddEditCommand.self, ListEditsCommand.self, RevertEditsCommand.self])
}

/// `kdn edit add`.
struct AddEditCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "add", abstract: "Adds an operation to a document and prints its id.",
    discussion: """
      Spans are the first token and the token behind the last one: 12-20. Scaling keys by 1.25 to \
      1.75 steers attention to a span, scaling them by 0.5 away from it.
      """)

  private enum Kind: String, CaseIterable, ExpressibleByArgument {
    case scaleKeys = "scale-keys"
    case scaleValues = "scale-values"
    case drop
  }

  private struct Answer: Encodable { let id: UInt64 }

  @OptionGroup var common: CommonOptions
  @Argument(help: "The document's name.")
  var name: String
  @Argument(help: "scale-keys, scale-values or drop.")
  private var operation: Kind
  @Argument(help: "Runs of tokens, such as 12-20; ascending and disjoint.")
  var spans: [TokenSpan]
  @Option(help: "What keys or values are multiplied by; keys by 0.25 to 4, values by -4 to 4.")
  var strength: Float?
  @Option(help: "Only if the document has this epoch.")
  var epoch: UInt64 = 0

  func validate() throws {
    guard (strength == nil) == (operation == .drop) else {
      throw ValidationError(
        operation == .drop ? "drop takes no --strength" : "--strength is needed")
    }
    do {
      try edit().check()
    } catch {
      throw ValidationError("\(error)")
    }
  }

  func answer() throws -> Bool {
    let id = try common.client().addEdit(edit(), to: name, epoch: epoch)
    guard !common.json else {
      try Output.line(Answer(id: id))
      return true
    }
    Output.line("\(id)")
    return true
  }

  private func edit() throws(FieldFault) -> EditOperation {
    let spans = try TokenSpans(spans.map(\.range))
    return switch operation {
    case .scaleKeys: .scaleKeys(strength ?? 1, spans)
    case .scaleValues: .scaleValues(strength ?? 1, spans)
    case .drop: .drop(spans)
    }
  }
}

/// `kdn edit list`.
struct ListEditsCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Shows the operations on a document in their order.")

  private struct Line: Encodable {
    let id: UInt64
    let operation: String
    let strength: Float?
    let spans: [[Int]]
  }

  @OptionGroup var common: CommonOptions
  @Argument(help: "The document's name.")
  var name: String

  func answer() throws -> Bool {
    for row in try common.client().edits(of: name) {
      let (operation, strength, spans) = row.operation.words
      guard !common.json else {
        let pairs = spans.ranges.map { [$0.lowerBound, $0.upperBound] }
        try Output.line(Line(id: row.id, operation: operation, strength: strength, spans: pairs))
        continue
      }
      let runs = spans.ranges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: " ")
      Output.line("\(row.id) \(operation) \(strength.map { "\($0) " } ?? "")\(runs)")
    }
    return true
  }
}

/// `kdn edit revert`.
struct RevertEditsCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "revert",
    abstract: "Takes back an operation, or all of a document; 1 if there was none.")

  private struct Answer: Encodable { let reverted: Int }

  @OptionGroup var common: CommonOptions
  @Argument(help: "The document's name.")
  var name: String
  @Argument(help: "The operation's id; else all.")
  var id: UInt64 = 0

  func answer() throws -> Bool {
    let count = try common.client().revertEdits(of: name, id: id)
    if common.json {
      try Output.line(Answer(reverted: count))
    } else {
      Output.line("reverted \(count)")
    }
    return count > 0
  }
}

/// A run of tokens as it is typed: `12-20`.
struct TokenSpan: ExpressibleByArgument {
  let range: Range<Int>

  init?(argument: String) {
    let sides = argument.split(separator: "-", omittingEmptySubsequences: false)
    guard sides.count == 2, let start = Int(sides[0]), let end = Int(sides[1]),
      start >= 0, start < end, end <= TokenSpans.tokenMax
    else { return nil }
    range = start..<end
  }
}

extension EditOperation {
  /// Name, strength if it has one, and the tokens that it is about.
  fileprivate var words: (operation: String, strength: Float?, spans: TokenSpans) {
    switch self {
    case .scaleKeys(let strength, let spans): ("scale_keys", strength, spans)
    case .scaleValues(let strength, let spans): ("scale_values", strength, spans)
    case .drop(let spans): ("drop", nil, spans)
    case .keep: ("keep", nil, .none)
    }
  }
}
