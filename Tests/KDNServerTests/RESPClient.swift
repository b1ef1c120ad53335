import Glibc
import KDNTransport

@testable import KDNServer

/// A client that sends what a test says, byte by byte, and reads replies as they are.
final class RESPClient {
  struct Broken: Error {}

  private let number: Int32

  /// Connects to the server's first listener for clients of Redis.
  convenience init(_ server: Server) throws {
    guard let place = server.listeners.first(where: { $0.kind == .resp }) else { throw Broken() }
    try self.init(place.endpoint)
  }

  init(_ endpoint: Endpoint) throws {
    guard case .tcp(_, let port) = endpoint else { throw Broken() }
    number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(number, $0, size) == 0 }
    }
    var patience = timeval(tv_sec: 120, tv_usec: 0)
    setsockopt(
      number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    guard isConnected else { throw Broken() }
  }

  deinit { close(number) }

  /// A command in the form of arrays.
  static func command(_ words: [[UInt8]]) -> [UInt8] {
    var bytes = Array("*\(words.count)\r\n".utf8)
    for word in words { bytes += Array("$\(word.count)\r\n".utf8) + word + [13, 10] }
    return bytes
  }

  static func command(_ words: String...) -> [UInt8] { command(words.map { Array($0.utf8) }) }

  func send(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes {
        Glibc.send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { throw Broken() }
      rest = rest.dropFirst(sent)
    }
  }

  /// Sends a command and reads one reply.
  func ask(_ words: String...) throws -> String {
    try send(Self.command(words.map { Array($0.utf8) }))
    return try reply()
  }

  func set(_ key: String, _ value: [UInt8], _ options: String...) throws -> String {
    try send(
      Self.command([Array("SET".utf8), Array(key.utf8), value] + options.map { Array($0.utf8) }))
    return try reply()
  }

  func get(_ key: String) throws -> [UInt8]? {
    try send(Self.command("GET", key))
    return try bulk()
  }

  /// The value of a bulk string; nil for null.
  func bulk() throws -> [UInt8]? {
    let head = try line()
    guard head.hasPrefix("$"), let count = Int(head.dropFirst()), count >= 0 else { return nil }
    let bytes = try take(count + 2)
    return Array(bytes.dropLast(2))
  }

  /// One whole reply; lists in brackets.
  func reply() throws -> String {
    let head = try line()
    switch head.first {
    case "$", "=":
      guard let count = Int(head.dropFirst()), count >= 0 else { return "null" }
      return String(decoding: try take(count + 2).dropLast(2), as: UTF8.self)
    case "*", "~", "%":
      guard var count = Int(head.dropFirst()), count >= 0 else { return "null" }
      if head.first == "%" { count *= 2 }
      return "[" + (try (0..<count).map { _ in try reply() }).joined(separator: " ") + "]"
    case "_": return "null"
    default: return head
    }
  }

  func line() throws -> String {
    var bytes: [UInt8] = []
    while !bytes.suffix(2).elementsEqual([13, 10]) { bytes += try take(1) }
    return String(decoding: bytes.dropLast(2), as: UTF8.self)
  }

  /// Exactly so many bytes, whatever they are.
  func take(_ count: Int) throws -> [UInt8] {
    guard count > 0 else { return [] }
    var bytes = [UInt8](repeating: 0, count: count)
    guard recv(number, &bytes, count, Int32(MSG_WAITALL)) == count else { throw Broken() }
    return bytes
  }

  /// Whether the server has ended the stream with nothing more to read.
  func isAtEnd() -> Bool {
    var byte: UInt8 = 0
    return recv(number, &byte, 1, 0) == 0
  }
}
