internal import KDNCore

extension NamespaceLimits {
  /// Most of anything that a limit can allow.
  static let valueMax = 1 << 62

  /// Reads `ram=4GiB disk=10GiB pinned=1GiB connections=100 requests=1000 bytes=1GiB`, any of them.
  ///
  /// - Throws: a fault that names `field`: an unknown name, one twice, none, or a faulty value.
  init(parsing words: some Sequence<Substring>, field: String) throws(FieldFault) {
    self.init()
    var isEmpty = true
    for word in words {
      isEmpty = false
      guard let equals = word.firstIndex(of: "=") else {
        throw FieldFault(field, value: word.utf8.count, limit: 0, "'\(word)' is not LIMIT=VALUE")
      }
      let text = String(word[word.index(after: equals)...])
      try set(String(word[..<equals]), text, field: field)
    }
    guard !isEmpty else { throw FieldFault(field, value: 0, limit: 1, "no limit is named") }
    try check(field: field)
  }

  private mutating func set(_ name: String, _ text: String, field: String) throws(FieldFault) {
    switch name {
    case "ram": try set(\.ramBytesMax, name, ByteCount(parsing: text, field: field), field)
    case "disk": try set(\.diskBytesMax, name, ByteCount(parsing: text, field: field), field)
    case "pinned": try set(\.pinnedBytesMax, name, ByteCount(parsing: text, field: field), field)
    case "bytes": try set(\.bytesPerSecond, name, ByteCount(parsing: text, field: field), field)
    case "connections": try set(\.connectionsMax, name, Self.count(text, field), field)
    case "requests": try set(\.requestsPerSecond, name, Self.count(text, field), field)
    default:
      throw FieldFault(
        field, value: name.utf8.count, limit: 0,
        "'\(name)' is none of ram, disk, pinned, connections, requests, bytes")
    }
  }

  private mutating func set(
    _ path: WritableKeyPath<NamespaceLimits, Int?>, _ name: String, _ value: ByteCount,
    _ field: String
  ) throws(FieldFault) {
    guard self[keyPath: path] == nil else {
      throw FieldFault(field, value: 2, limit: 1, "'\(name)' stands there twice")
    }
    self[keyPath: path] = value.bytes
  }

  private static func count(_ text: String, _ field: String) throws(FieldFault) -> ByteCount {
    guard let number = Int(text), number >= 0 else {
      throw FieldFault(field, value: text.utf8.count, limit: 0, "'\(text)' is not a whole number")
    }
    return ByteCount(number)
  }

  /// Checks each limit that there is.
  ///
  /// - Throws: a fault that names `field` and the limit if it allows nothing, or too much.
  func check(field: String) throws(FieldFault) {
    let limits = [
      ("ram", ramBytesMax), ("disk", diskBytesMax), ("pinned", pinnedBytesMax),
      ("connections", connectionsMax), ("requests", requestsPerSecond), ("bytes", bytesPerSecond),
    ]
    for case (let name, let value?) in limits {
      guard (1...Self.valueMax).contains(value) else {
        throw FieldFault(
          field, value: value, limit: value < 1 ? 1 : Self.valueMax, "\(name): must be 1 to 2^62")
      }
    }
  }
}
