internal import ArgumentParser
internal import KDNControl

/// `kdn config`: what holds in a running daemon.
struct ConfigCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "config",
    abstract: "Shows each setting of the running daemon with its value and where that came from.")

  @OptionGroup var admin: AdminOptions
  @Flag(help: "Show only what differs from the defaults.")
  var changed = false

  func answer() throws -> Bool {
    let bytes = try admin.client().bytes("/config")
    guard !admin.json else {
      Output.line(String(decoding: bytes, as: UTF8.self))
      return true
    }
    let report = try ControlJSON.decode(ConfigurationReport.self, from: bytes)
    for entry in report.entries where !changed || entry.source != "default" {
      let text =
        entry.isList ? "[\(entry.values.joined(separator: ", "))]" : entry.values.joined()
      let reload = entry.isReloadable ? ", reloadable" : ""
      Output.line("\(entry.key): \(text)  # \(entry.source)\(reload)")
    }
    return true
  }
}

/// `kdn slowlog`: what took long.
struct SlowlogCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "slowlog",
    abstract: "Shows the slowest requests of late, with the time spent in each stage.")

  @OptionGroup var admin: AdminOptions

  private struct Requests: Decodable { let requests: [SlowRequest] }

  func answer() throws -> Bool {
    let bytes = try admin.client().bytes("/slowlog")
    guard !admin.json else {
      Output.line(String(decoding: bytes, as: UTF8.self))
      return true
    }
    let rows = try ControlJSON.decode(Requests.self, from: bytes).requests.map { request in
      [
        Text.time(unixMilliseconds: request.unixMilliseconds), request.operation,
        request.namespace, "\(request.connection)", "\(request.items)", Text.bytes(request.bytes),
        request.status, Text.microseconds(request.totalMicroseconds),
        Text.microseconds(request.waitMicroseconds), Text.microseconds(request.diskMicroseconds),
      ]
    }
    let header = [
      "arrived", "operation", "namespace", "connection", "items", "bytes", "status", "total",
      "waited", "disk",
    ]
    for line in Text.table(header, rows) { Output.line(line) }
    return true
  }
}

/// `kdn objects`: what is kept of a namespace.
struct ObjectsCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "objects", abstract: "Lists the objects of a namespace, in RAM and on disk.")

  @OptionGroup var admin: AdminOptions
  @Option(help: "The namespace.")
  var namespace = "default"
  @Option(help: "Stop after this many.")
  var limit: Int?

  func validate() throws {
    guard limit ?? 1 >= 1 else { throw ValidationError("--limit takes a positive number") }
  }

  func answer() throws -> Bool {
    let client = try admin.client()
    var cursor: String?
    var left = limit ?? .max
    repeat {
      var path = "/objects?namespace=\(namespace)&limit=\(min(left, ObjectQuery.limitMax))"
      if let cursor { path += "&cursor=\(cursor)" }
      let page = try client.get(path, as: ObjectPage.self)
      if !admin.json, cursor == nil {
        Output.line("hash kind bytes tokens uses tiers pinned part")
      }
      for object in page.objects { try show(object) }
      left -= page.objects.count
      cursor = page.next
    } while cursor != nil && left > 0
    return true
  }

  private func show(_ object: ObjectPage.Item) throws {
    guard !admin.json else { return try Output.line(object) }
    let pin = object.isPinned ? "pinned" : "-"
    Output.line(
      """
      \(object.hash) \(object.kind) \(object.bytes) \(object.tokens) \(object.uses) \
      \(object.tiers.joined(separator: "+")) \(pin) \(object.part.isEmpty ? "-" : object.part)
      """)
  }
}
