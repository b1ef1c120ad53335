internal import ArgumentParser
internal import KDNControl

/// `kdn drain`: sends a daemon away.
struct DrainCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain",
    abstract: "Has the daemon answer what is in flight, then end.")

  @OptionGroup var admin: AdminOptions

  func answer() throws -> Bool {
    let bytes = try admin.client().order(.POST, "/drain")
    Output.line(admin.json ? String(decoding: bytes, as: UTF8.self) : "draining")
    return true
  }
}

/// `kdn reload`: has the configuration read anew.
struct ReloadCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "reload",
    abstract: "Has the daemon read its configuration anew: all of it or, with a fault, nothing.")

  @OptionGroup var admin: AdminOptions

  func answer() throws -> Bool {
    let bytes = try admin.client().order(.POST, "/reload")
    guard !admin.json else {
      Output.line(String(decoding: bytes, as: UTF8.self))
      return true
    }
    let changed = try ControlJSON.decode(ReloadReport.self, from: bytes).changed
    Output.line(changed.isEmpty ? "nothing changed" : "changed: \(changed.joined(separator: ", "))")
    return true
  }
}

/// `kdn loglevel`: how much a daemon says.
struct LogLevelCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "loglevel",
    abstract: "Sets the least severe level that the daemon logs, until the next reload.")

  @OptionGroup var admin: AdminOptions
  @Argument(help: "trace, debug, info, notice, warning, error or critical.")
  var level: String

  private struct Order: Encodable { let level: String }

  func answer() throws -> Bool {
    let bytes = try admin.client().order(.POST, "/loglevel", Order(level: level))
    Output.line(admin.json ? String(decoding: bytes, as: UTF8.self) : level)
    return true
  }
}
