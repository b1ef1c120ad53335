internal import ArgumentParser
internal import KDNCore
internal import KDNWire

/// `kdn purge`: objects to be dropped.
struct PurgeCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "purge", abstract: "Drops objects; 1 if there was none.")

  @OptionGroup var common: CommonOptions
  @Argument(help: "Keys of opaque objects, any text.")
  var keys: [String] = []
  @Option(help: "A chunk hash: it and all that builds on it; may be given several times.")
  var prefix: [String] = []
  @Option(help: "A layout id: all its objects; may be given several times.")
  var layout: [String] = []
  @Flag(help: "All objects of the namespace.")
  var all = false

  func validate() throws {
    let scopes = [!keys.isEmpty, !prefix.isEmpty, !layout.isEmpty, all].count { $0 }
    guard scopes == 1 else {
      throw ValidationError("give keys, --prefix, --layout or --all, and only one of them")
    }
    _ = try scope()
  }

  func answer() throws -> Bool {
    let dropped = try common.client().purge(scope())
    if common.json {
      try Output.line(["objects": dropped.objects, "bytes": dropped.bytes])
    } else {
      Output.line("\(dropped.objects) objects, \(dropped.bytes) bytes")
    }
    return dropped.objects > 0
  }

  private func scope() throws -> PurgeRequest.Scope {
    if all { return .namespace }
    if !prefix.isEmpty { return .prefixes(try prefix.map { try Hexadecimal.chunkHash($0) }) }
    if !layout.isEmpty { return .layouts(try layout.map { try Hexadecimal.layoutID($0) }) }
    return .keys(keys.map(KeyArguments.object))
  }
}
