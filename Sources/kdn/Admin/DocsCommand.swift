internal import ArgumentParser
internal import KDNControl

/// `kdn docs`: the texts that are known by name.
struct DocsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "docs", abstract: "Lists, shows and retires documents, and denies their use.",
    subcommands: [
      ListDocsCommand.self, ShowDocCommand.self, RetireDocCommand.self, DenyDocsCommand.self,
      AllowDocsCommand.self, DocRulesCommand.self,
    ],
    defaultSubcommand: ListDocsCommand.self, aliases: ["documents"])
}

/// Where documents are asked for.
struct DocumentOptions: ParsableArguments {
  @OptionGroup var admin: AdminOptions
  @Option(help: "The namespace.")
  var namespace = "default"

  /// A path with a query that names the namespace, and the document if one is given.
  func path(_ path: String, name: String? = nil) -> String {
    let query = "?namespace=\(Self.escaped(namespace))"
    return "/\(path)\(query)" + (name.map { "&name=\(Self.escaped($0))" } ?? "")
  }

  /// As RFC 3986 §2.1 spells bytes that stand for themselves nowhere.
  static func escaped(_ text: String) -> String {
    text.utf8.map { byte in
      let isPlain = Unicode.Scalar(byte).properties.isAlphabetic && byte < 128
      return isPlain || (48...57).contains(byte)
        ? String(Unicode.Scalar(byte)) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined()
  }

  /// Shows rules, one in a line.
  func show(_ rules: DocumentRules) throws {
    guard !admin.json else { return try Output.line(rules) }
    for rule in rules.denied { Output.line(rule) }
  }

  /// Adds rules or takes them away, and shows which hold then.
  func change(deny: [String]? = nil, allow: [String]? = nil) throws {
    let order = DocumentRulesOrder(namespace: namespace, deny: deny, allow: allow)
    let bytes = try admin.client().order(.POST, "/documents/rules", order)
    try show(ControlJSON.decode(DocumentRules.self, from: bytes))
  }
}

/// `kdn docs list`: all documents.
struct ListDocsCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists the documents of a namespace.")

  @OptionGroup var options: DocumentOptions

  func answer() throws -> Bool {
    let client = try options.admin.client()
    var after: String?
    var rows: [[String]] = []
    repeat {
      var path = options.path("documents") + "&limit=1000"
      if let after { path += "&after=\(DocumentOptions.escaped(after))" }
      let page = try client.get(path, as: DocumentPage.self)
      for document in page.documents {
        guard !options.admin.json else {
          try Output.line(document)
          continue
        }
        rows.append([
          document.name, "\(document.epoch)", "\(document.tokens)",
          "\(document.presentChunks)/\(document.chunks)", "\(document.edits)",
          document.isDenied ? "denied" : "allowed",
        ])
      }
      after = page.next
    } while after != nil
    guard !options.admin.json else { return true }
    let header = ["name", "epoch", "tokens", "chunks", "edits", "use"]
    for line in Text.table(header, rows) { Output.line(line) }
    return true
  }
}

/// `kdn docs show`: one document and what is done to it.
struct ShowDocCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Shows a document and the operations on it.")

  private struct Both: Encodable {
    let document: DocumentPage.Item
    let edits: [DocumentEdits.Item]
  }

  @OptionGroup var options: DocumentOptions
  @Argument(help: "The document's name.")
  var name: String

  func answer() throws -> Bool {
    let client = try options.admin.client()
    let page = try client.get(options.path("documents", name: name), as: DocumentPage.self)
    let edits = try client.get(options.path("documents/edits", name: name), as: DocumentEdits.self)
    guard let document = page.documents.first else {
      throw ControlFault(.notFound, field: "name", "no document of this name")
    }
    guard !options.admin.json else {
      try Output.line(Both(document: document, edits: edits.edits))
      return true
    }
    Output.line(
      """
      name: \(document.name)
      epoch: \(document.epoch)
      layout: \(document.layout)
      tokens: \(document.tokens)
      chunks: \(document.presentChunks) of \(document.chunks) present
      use: \(document.isDenied ? "denied" : "allowed")
      metadata: \(document.metadata)
      """)
    for edit in edits.edits { Output.line("edit \(edit.id): \(edit.text)") }
    return true
  }
}

/// `kdn docs retire`: a name that is to stand for nothing.
struct RetireDocCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "retire", abstract: "Forgets a document's name; its chunks stay.")

  @OptionGroup var options: DocumentOptions
  @Argument(help: "The document's name.")
  var name: String

  func answer() throws -> Bool {
    let bytes = try options.admin.client().order(.DELETE, options.path("documents", name: name))
    guard !options.admin.json else {
      Output.line(String(decoding: bytes, as: UTF8.self))
      return true
    }
    let retired = try ControlJSON.decode(DocumentRetirement.self, from: bytes)
    Output.line("retired \(retired.name), epoch \(retired.epoch)")
    return true
  }
}

/// `kdn docs deny`: documents that may not be used.
struct DenyDocsCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "deny",
    abstract: "Denies the use of documents, and shows all rules of the namespace.",
    discussion: "The daemon refuses to resolve these documents or to blend them.")

  @OptionGroup var options: DocumentOptions
  @Argument(help: "Names, or beginnings of names with * at their end; they need not be there.")
  var names: [String]

  func answer() throws -> Bool {
    try options.change(deny: names)
    return true
  }
}

/// `kdn docs allow`: rules that are to go.
struct AllowDocsCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "allow",
    abstract: "Takes rules away as they were given to deny, and shows those that are left.")

  @OptionGroup var options: DocumentOptions
  @Argument(help: "The rules.")
  var rules: [String]

  func answer() throws -> Bool {
    try options.change(allow: rules)
    return true
  }
}

/// `kdn docs rules`: which documents may not be used.
struct DocRulesCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "rules", abstract: "Shows which documents may not be used.")

  @OptionGroup var options: DocumentOptions

  func answer() throws -> Bool {
    let client = try options.admin.client()
    try options.show(client.get(options.path("documents/rules"), as: DocumentRules.self))
    return true
  }
}

extension DocumentEdits.Item {
  /// The operation in words.
  var text: String {
    let runs = spans.map { $0.map { "\($0)" }.joined(separator: "-") }.joined(separator: ",")
    return "\(operation)\(strength.map { " \($0)" } ?? "") \(codecClass ?? runs)"
  }
}
