package import KDNCore

/// Appends replies, whole or their heads, in the version that the connection speaks.
package struct RESPEncoder: Equatable, Sendable {
  /// What the connection speaks.
  package var version: RESPVersion

  /// What stands behind each line and behind the bytes of a bulk string.
  package static let lineEnd: [UInt8] = [RESPByte.carriageReturn, RESPByte.lineFeed]

  /// Creates an encoder.
  package init(version: RESPVersion = .two) { self.version = version }

  // MARK: Lines

  /// Appends `+OK`.
  package func ok(to writer: inout ByteWriter) { simple("OK", to: &writer) }

  /// Appends a short text, which must have no line breaks.
  package func simple(_ text: StaticString, to writer: inout ByteWriter) {
    line("+", text.description.utf8, to: &writer)
  }

  /// Appends an error.
  package func error(_ error: RESPError, to writer: inout ByteWriter) {
    line("-", error.description.utf8, to: &writer)
  }

  /// Appends a number.
  package func integer(_ value: Int, to writer: inout ByteWriter) {
    line(":", String(value).utf8, to: &writer)
  }

  /// Appends the reply for what is not here.
  package func null(to writer: inout ByteWriter) {
    switch version {
    case .two: line("$", "-1".utf8, to: &writer)
    case .three: line("_", "".utf8, to: &writer)
    }
  }

  // MARK: Strings

  /// Appends a string of any bytes.
  package func bulk(_ bytes: some Collection<UInt8>, to writer: inout ByteWriter) {
    bulkHeader(bytes: bytes.count, to: &writer)
    writer.put(contentsOf: bytes)
    writer.put(contentsOf: Self.lineEnd)
  }

  /// Appends a string.
  package func bulk(_ text: String, to writer: inout ByteWriter) { bulk(text.utf8, to: &writer) }

  /// Appends what stands in front of a string of so many bytes; they and a line end follow.
  package func bulkHeader(bytes: Int, to writer: inout ByteWriter) {
    line("$", String(bytes).utf8, to: &writer)
  }

  /// Appends text for people, marked as such where the version can.
  package func text(_ text: String, to writer: inout ByteWriter) {
    guard version == .three else { return bulk(text, to: &writer) }
    line("=", String(text.utf8.count + 4).utf8, to: &writer)
    writer.put(contentsOf: "txt:".utf8)
    writer.put(contentsOf: text.utf8)
    writer.put(contentsOf: Self.lineEnd)
  }

  // MARK: Collections

  /// Appends what stands in front of a list of `count` replies.
  package func arrayHeader(count: Int, to writer: inout ByteWriter) {
    line("*", String(count).utf8, to: &writer)
  }

  /// Appends what stands in front of `count` pairs of replies.
  package func mapHeader(count: Int, to writer: inout ByteWriter) {
    switch version {
    case .two: arrayHeader(count: count * 2, to: &writer)
    case .three: line("%", String(count).utf8, to: &writer)
    }
  }

  /// Appends what stands in front of `count` replies whose order says nothing.
  package func setHeader(count: Int, to writer: inout ByteWriter) {
    switch version {
    case .two: arrayHeader(count: count, to: &writer)
    case .three: line("~", String(count).utf8, to: &writer)
    }
  }

  private func line(
    _ type: Unicode.Scalar, _ content: some Sequence<UInt8>, to writer: inout ByteWriter
  ) {
    writer.put(UInt8(ascii: type))
    writer.put(contentsOf: content)
    writer.put(contentsOf: Self.lineEnd)
  }
}

// MARK: Clients that do not parse

// LMCache's native client reads as many bytes as the reply that it hopes for and compares them. A
// shorter reply makes it wait for ever, a longer one puts it out of step; one of the same length is
// a failure of this one key. These are whole replies for every other client too.
extension RESPEncoder {
  /// Appends a miss as long as the head of the value that the client expects.
  package func paddedMiss(expectedValueBytes: Int, to writer: inout ByteWriter) {
    precondition(expectedValueBytes >= 0, "no value has less than no bytes")
    let length = String(expectedValueBytes).utf8.count + 1 + Self.lineEnd.count
    let nullBytes = "$-1".utf8.count + Self.lineEnd.count
    guard length != nullBytes else { return line("$", "-1".utf8, to: &writer) }
    padded("MISS", replyBytes: length, to: &writer)
  }

  /// Appends an error that is `replyBytes` long, 4 or more: as the reply that the client expects.
  package func paddedError(replyBytes: Int, to writer: inout ByteWriter) {
    padded("ERR", replyBytes: replyBytes, to: &writer)
  }

  private func padded(_ word: String, replyBytes: Int, to writer: inout ByteWriter) {
    let count = replyBytes - 1 - Self.lineEnd.count
    precondition(count > 0, "a reply has a type, a byte and a line end")
    let front = word.utf8.prefix(count)
    line("-", front + Array(repeating: RESPByte.space, count: count - front.count), to: &writer)
  }
}
