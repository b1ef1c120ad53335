package import KDNCore

extension RESPEncoder {
  /// Appends what COMMAND answers.
  package func commandTable(_ question: RESPTableQuestion, to writer: inout ByteWriter) {
    switch question {
    case .count: integer(RESPCommandName.allCases.count, to: &writer)
    case .list:
      arrayHeader(count: RESPCommandName.allCases.count, to: &writer)
      for name in RESPCommandName.allCases { bulk(name.rawValue, to: &writer) }
    case .all, .info(nil):
      arrayHeader(count: RESPCommandName.allCases.count, to: &writer)
      for name in RESPCommandName.allCases { row(name, to: &writer) }
    case .info(.some(let names)):
      arrayHeader(count: names.count, to: &writer)
      for name in names {
        if let known = RESPCommandName(name.utf8) {
          row(known, to: &writer)
        } else {
          null(to: &writer)
        }
      }
    case .docs(let names):
      let known = names.compactMap { RESPCommandName($0.utf8) }
      let told = names.isEmpty ? RESPCommandName.allCases : known
      mapHeader(count: told.count, to: &writer)
      for name in told { document(name, to: &writer) }
    }
  }

  /// Ten facts, as Redis 7 has them; access categories, tips, key specifications and subcommands
  /// are empty.
  private func row(_ name: RESPCommandName, to writer: inout ByteWriter) {
    let facts = name.facts
    arrayHeader(count: 10, to: &writer)
    bulk(name.rawValue, to: &writer)
    integer(facts.arity, to: &writer)
    setHeader(count: facts.flags.count, to: &writer)
    for flag in facts.flags {
      writer.put(contentsOf: "+\(flag)".utf8)
      writer.put(contentsOf: Self.lineEnd)
    }
    integer(facts.keys.first, to: &writer)
    integer(facts.keys.last, to: &writer)
    integer(facts.keys.step, to: &writer)
    setHeader(count: 0, to: &writer)
    for _ in 0..<3 { arrayHeader(count: 0, to: &writer) }
  }

  private func document(_ name: RESPCommandName, to writer: inout ByteWriter) {
    bulk(name.rawValue, to: &writer)
    mapHeader(count: 2, to: &writer)
    for (title, text) in [("summary", name.facts.summary), ("group", name.facts.group)] {
      bulk(title, to: &writer)
      bulk(text, to: &writer)
    }
  }
}
