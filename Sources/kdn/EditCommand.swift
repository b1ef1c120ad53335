internal import ArgumentParser
internal import KDNClient
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
    subcommands: [
      AddEditCommand.self, RequantiseCommand.self, ListEditsCommand.self, RevertEditsCommand.self,
      MaterialiseCommand.self,
    ])
}

/// `kdn edit add`.
struct AddEditCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "add", abstract: "Adds an operation to a document and prints its id.",
    discussion: """
      Runs are the first token and the token behind the last one: 12-20. With --text the tokens of \
      a phrase are found, where the document was learned from text. emphasise scales keys by 1.75 \
      and suppress by 0.5, unless --strength says otherwise: mark the words that answer, or take \
      1.25 to 1.4 for whole sentences. keep takes --permille and --scores.
      """)

  private enum Kind: String, CaseIterable, ExpressibleByArgument {
    case emphasise
    case suppress
    case scaleKeys = "scale-keys"
    case scaleValues = "scale-values"
    case drop
    case keep

    /// What is multiplied by unless it is told; nil if it must be told, or there is nothing of it.
    var usualStrength: Float? {
      switch self {
      case .emphasise: EditOperation.emphasisStrength
      case .suppress: EditOperation.suppressionStrength
      default: nil
      }
    }
    var isScale: Bool { self != .drop && self != .keep }
  }

  private struct Answer: Encodable { let id: UInt64 }

  @OptionGroup var common: CommonOptions
  @Argument(help: "The document's name.")
  var name: String
  @Argument(help: "emphasise, suppress, scale-keys, scale-values, drop or keep.")
  private var operation: Kind
  @OptionGroup var tokens: EditTokens
  @OptionGroup var share: KeepArguments
  @Option(help: "What keys or values are multiplied by; keys by 0.25 to 4, values by -4 to 4.")
  var strength: Float?
  @Option(help: "Only if the document has this epoch.")
  var epoch: UInt64 = 0

  func validate() throws {
    guard operation.isScale || strength == nil else {
      throw ValidationError("\(operation.rawValue) takes no --strength")
    }
    guard !operation.isScale || (strength ?? operation.usualStrength) != nil else {
      throw ValidationError("--strength is needed")
    }
    guard share.isEmpty == (operation != .keep) else {
      throw ValidationError(
        operation == .keep ? "keep needs --permille and --scores" : "--permille is for keep")
    }
    guard tokens.isEmpty == (operation == .keep) else {
      throw ValidationError(
        operation == .keep ? "keep takes no runs of tokens" : "runs of tokens, or --text, needed")
    }
    guard operation != .keep else { return }
    do {
      // What is wrong with the rest is told before anybody is asked for the tokens of a phrase.
      try edit(tokens.typed() ?? .first).check()
    } catch {
      throw ValidationError("\(error)")
    }
  }

  func answer() throws -> Bool {
    let kept = operation == .keep ? try share.operation() : nil
    let client = try common.client()
    let (change, meant) = try kept.map { ($0, epoch) } ?? change(client)
    let id = try client.addEdit(change, to: name, epoch: meant)
    guard !common.json else {
      try Output.line(Answer(id: id))
      return true
    }
    Output.line("\(id)")
    return true
  }

  /// The operation, and the epoch that its tokens are of.
  private func change(_ client: Client) throws -> (EditOperation, epoch: UInt64) {
    if let typed = try tokens.typed() { return (edit(typed), epoch) }
    let found = try tokens.find(in: name, client)
    // An epoch that was asked for is insisted on: the daemon refuses it if it is another one.
    return (edit(found.spans), epoch == 0 ? found.epoch : epoch)
  }

  private func edit(_ spans: TokenSpans) -> EditOperation {
    let strength = strength ?? operation.usualStrength ?? 1
    return switch operation {
    case .emphasise, .suppress, .scaleKeys: .scaleKeys(strength, spans)
    case .scaleValues: .scaleValues(strength, spans)
    case .drop, .keep: .drop(spans)
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
    let codec: String?

    enum CodingKeys: String, CodingKey {
      case id, operation, strength, spans
      case codec = "class"
    }
  }

  @OptionGroup var common: CommonOptions
  @Argument(help: "The document's name.")
  var name: String

  func answer() throws -> Bool {
    let client = try common.client()
    for row in try client.edits(of: name) {
      let (operation, strength, spans) = row.operation.words
      guard !common.json else {
        let pairs = spans.ranges.map { [$0.lowerBound, $0.upperBound] }
        try Output.line(
          Line(
            id: row.id, operation: operation, strength: strength, spans: pairs,
            codec: row.operation.codecName))
        continue
      }
      let runs = spans.ranges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: " ")
      let what = row.operation.codecName ?? runs
      Output.line("\(row.id) \(operation) \(strength.map { "\($0) " } ?? "")\(what)")
    }
    let material = try client.materialised(name)
    guard material.state != .nothing else { return true }
    if common.json {
      try Output.line(MaterialisedLine(material))
    } else {
      Output.line(material.words)
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
    case .requantise: ("requantise", nil, .none)
    }
  }
}
