internal import ArgumentParser
internal import KDNCore

/// Limits as people write them.
struct LimitArguments: ParsableArguments {
  @Option(help: "Bytes in RAM, such as 4GiB; 'none' for no limit.") var ram: String?
  @Option(help: "Bytes on disk.") var disk: String?
  @Option(help: "Bytes pinned, in each tier.") var pinned: String?
  @Option(help: "Connections at once.") var connections: String?
  @Option(help: "Requests a second.") var requests: String?
  @Option(help: "Payload bytes a second, in both directions.") var bytes: String?

  /// True if none is given.
  var isEmpty: Bool {
    [ram, disk, pinned, connections, requests, bytes].allSatisfy { $0 == nil }
  }

  /// `limits` with what is given here in its place.
  func applied(to limits: NamespaceLimits) throws -> NamespaceLimits {
    var limits = limits
    if let ram { limits.ramBytesMax = try Self.size(ram, "--ram") }
    if let disk { limits.diskBytesMax = try Self.size(disk, "--disk") }
    if let pinned { limits.pinnedBytesMax = try Self.size(pinned, "--pinned") }
    if let connections { limits.connectionsMax = try Self.count(connections, "--connections") }
    if let requests { limits.requestsPerSecond = try Self.count(requests, "--requests") }
    if let bytes { limits.bytesPerSecond = try Self.size(bytes, "--bytes") }
    return limits
  }

  private static func size(_ text: String, _ field: String) throws -> Int? {
    text == "none" ? nil : try ByteCount(parsing: text, field: field).bytes
  }

  private static func count(_ text: String, _ field: String) throws -> Int? {
    guard text != "none" else { return nil }
    guard let number = Int(text), number >= 0 else {
      throw ValidationError("\(field) takes a whole number or 'none', not '\(text)'")
    }
    return number
  }
}
