/// The few forms of RESP2 that the benchmark needs.
///
/// Source: Redis documentation, "Redis serialization protocol specification".
enum RESP {
  /// What ends a line.
  static let lineEnd: [UInt8] = [13, 10]
  private static let pieceBytes = 512
  private static let answerBytesMax = 64 << 10

  /// A command as an array of bulk strings.
  static func command(_ words: [String]) -> [UInt8] {
    var text = "*\(words.count)\r\n"
    for word in words { text += "$\(word.utf8.count)\r\n\(word)\r\n" }
    return Array(text.utf8)
  }

  /// Receives an answer of one line, the only one outstanding, without its end.
  static func line(from socket: PlainSocket) throws(BenchError) -> String {
    let bytes = try receive(from: socket) { $0.suffix(2) == lineEnd[...] }
    return String(decoding: bytes.dropLast(2), as: UTF8.self)
  }

  /// Receives a bulk string, the only answer outstanding.
  static func bulk(from socket: PlainSocket) throws(BenchError) -> String {
    let bytes = try receive(from: socket) { bytes in
      guard let end = bytes.firstIndex(of: 10) else { return false }
      guard bytes.first == UInt8(ascii: "$") else { return true }
      let digits = String(decoding: bytes[1..<max(1, end - 1)], as: UTF8.self)
      return Int(digits).map { bytes.count >= end + 1 + $0 + 2 } ?? true
    }
    guard bytes.first == UInt8(ascii: "$"), let end = bytes.firstIndex(of: 10) else {
      throw .refused(target: "redis", answer: String(decoding: bytes, as: UTF8.self))
    }
    return String(decoding: bytes[(end + 1)...], as: UTF8.self)
  }

  private static func receive(
    from socket: PlainSocket, until isComplete: ([UInt8]) -> Bool
  ) throws(BenchError) -> [UInt8] {
    var answer: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: pieceBytes)
    while !isComplete(answer) {
      let count = try socket.receiveSome(into: &piece)
      guard count > 0 else { throw .peerClosed(target: "redis") }
      answer += piece.prefix(count)
      guard answer.count <= answerBytesMax else {
        throw .refused(target: "redis", answer: "an answer beyond \(answerBytesMax) bytes")
      }
    }
    return answer
  }
}
