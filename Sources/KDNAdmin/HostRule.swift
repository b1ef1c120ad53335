/// Which values of the Host header are served: else a web page could reach the endpoint under a
/// name of its own that it lets point here (DNS rebinding).
struct HostRule: Sendable {
  private static let loopbackNames: Set<String> = ["localhost", "127.0.0.1", "[::1]"]
  private let names: Set<String>

  /// Serves loopback names and `names`, which may carry a port that does not matter.
  init(names: [String]) {
    self.names = Self.loopbackNames.union(names.compactMap { Self.name(of: $0) })
  }

  /// Whether a request with this Host is served on a connection that reached `address`.
  func admits(_ host: String, reaching address: String?) -> Bool {
    guard let name = Self.name(of: host) else { return false }
    guard let address else { return names.contains(name) }
    return names.contains(name) || name == address || name == "[\(address)]"
  }

  /// Host without port, in lower case and without a dot at its end; nil if it is malformed.
  static func name(of host: String) -> String? {
    guard (1...255).contains(host.utf8.count) else { return nil }
    let lower = host.lowercased()
    if lower.hasPrefix("[") {
      guard let end = lower.firstIndex(of: "]") else { return nil }
      return isPort(lower[lower.index(after: end)...]) ? String(lower[...end]) : nil
    }
    let colon = lower.firstIndex(of: ":") ?? lower.endIndex
    guard isPort(lower[colon...]) else { return nil }
    let name = lower[..<colon]
    let bare = name.hasSuffix(".") ? name.dropLast() : name
    return !bare.isEmpty && bare.utf8.allSatisfy(isAllowed) ? String(bare) : nil
  }

  /// Whether a browser sent this from a page of another site, or may have.
  static func isForeign(origin: String?, fetchSite: String?, host: String) -> Bool {
    if let fetchSite, !["same-origin", "none"].contains(fetchSite.lowercased()) { return true }
    guard let origin else { return false }
    let lower = origin.lowercased()
    return !["http://", "https://"].contains { lower == $0 + host.lowercased() }
  }

  private static func isPort(_ text: Substring) -> Bool {
    guard text.first == ":" else { return text.isEmpty }
    return text.count <= 6 && text.dropFirst().utf8.allSatisfy { (0x30...0x39).contains($0) }
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
      UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
      true
    default: false
    }
  }
}
