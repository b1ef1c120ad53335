internal import ArgumentParser
internal import FoundationEssentials

/// `kdn stats`: the daemon's numbers.
struct StatsCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats", abstract: "Shows the daemon's numbers; with --json as it sends them.")

  @OptionGroup var common: CommonOptions

  func answer() throws -> Bool {
    let json = try common.client().stats()
    guard !common.json else {
      Output.line(json)
      return true
    }
    let value = try JSONDecoder().decode(JSONValue.self, from: Data(json.utf8))
    for (name, text) in value.leaves(under: "") { Output.line("\(name): \(text)") }
    return true
  }
}

/// Any JSON, to show what newer daemons tell, too.
private enum JSONValue: Decodable {
  case object([String: JSONValue])
  case list([JSONValue])
  case leaf(String)

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let object = try? container.decode([String: JSONValue].self) {
      self = .object(object)
    } else if let list = try? container.decode([JSONValue].self) {
      self = .list(list)
    } else if let text = try? container.decode(String.self) {
      self = .leaf(text)
    } else if let flag = try? container.decode(Bool.self) {
      self = .leaf("\(flag)")
    } else if let integer = try? container.decode(Int.self) {
      self = .leaf("\(integer)")
    } else if container.decodeNil() {
      self = .leaf("-")
    } else {
      self = .leaf("\(try container.decode(Double.self))")
    }
  }

  /// All values that have no parts, with their paths, sorted.
  func leaves(under path: String) -> [(String, String)] {
    let prefix = path.isEmpty ? "" : path + "."
    switch self {
    case .leaf(let text): return [(path, text)]
    case .list(let values):
      return values.enumerated().flatMap { $1.leaves(under: "\(prefix)\($0)") }
    case .object(let members):
      return members.sorted { $0.key < $1.key }.flatMap { $1.leaves(under: prefix + $0) }
    }
  }
}
