internal import ArgumentParser
internal import KDNCore

/// `kdn edit requantise`.
struct RequantiseCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "requantise",
    abstract: "Has a document delivered as if it were kept in a codec class; prints the edit's id.",
    discussion: """
      What is stored stays as it is. The class is applied after all strengths; of several edits \
      the smallest class counts.
      """)

  private struct Answer: Encodable { let id: UInt64 }

  @OptionGroup var common: CommonOptions
  @Argument(help: "The document's name.")
  var name: String
  @Argument(help: "high, balanced, small or archive.")
  var codec: CodecClassName
  @Option(help: "Only if the document has this epoch.")
  var epoch: UInt64 = 0

  func answer() throws -> Bool {
    let id = try common.client().addEdit(.requantise(codec.codec), to: name, epoch: epoch)
    if common.json {
      try Output.line(Answer(id: id))
    } else {
      Output.line("\(id)")
    }
    return true
  }
}

/// `kdn edit materialise`.
struct MaterialiseCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "materialise",
    abstract: "Has the chunks that edits change kept as they are delivered.",
    discussion: """
      Blends are the same without: they edit chunks on the way. The work is done in the background \
      and lasts until the edits change; `kdn edit list` tells how far it is.
      """)

  @OptionGroup var common: CommonOptions
  @Argument(help: "The document's name.")
  var name: String

  func answer() throws -> Bool {
    let material = try common.client().materialise(name)
    if common.json {
      try Output.line(MaterialisedLine(material))
    } else {
      Output.line(material.words)
    }
    return true
  }
}

/// A class as it is typed.
struct CodecClassName: ExpressibleByArgument {
  let codec: PayloadCodec

  init?(argument: String) {
    guard let codec = EditOperation.classes.first(where: { $0.name == argument }) else {
      return nil
    }
    self.codec = codec
  }
}

/// How much is kept as it is delivered, for programs.
struct MaterialisedLine: Encodable {
  let materialised: String
  let kept: Int
  let total: Int

  init(_ material: Materialised) {
    (materialised, kept, total) = (material.state.name, material.kept, material.total)
  }
}

extension Materialised {
  /// The same for people.
  var words: String {
    switch state {
    case .nothing: "nothing to materialise"
    case .onDelivery where kept == 0: "edited on delivery"
    case .onDelivery: "materialised in part: \(kept) of \(total)"
    case .running: "materialising: \(kept) of \(total)"
    case .whole: "materialised: \(total)"
    }
  }
}

extension EditOperation {
  /// The class that `requantise` names; nil for others.
  var codecName: String? {
    if case .requantise(let codec) = self { codec.name } else { nil }
  }
}
