internal import ArgumentParser
internal import Crypto
internal import KDNControl

/// A token that nobody knows yet: 32 random bytes in hexadecimal.
struct NewToken {
  private static let byteCount = 32

  /// For the client.
  let text: String
  /// For the daemon, in hexadecimal.
  let sha256: String

  /// What the daemon is told.
  struct Order: Encodable { let sha256: String }

  init() {
    // The system's generator, which is fit for keys.
    var generator = SystemRandomNumberGenerator()
    let bytes = (0..<Self.byteCount).map { _ in UInt8.random(in: 0...255, using: &generator) }
    text = Self.hexadecimal(bytes)
    sha256 = Self.hexadecimal(Array(SHA256.hash(data: Array(text.utf8))))
  }

  private static func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// Where a new token goes.
struct TokenOutput: ParsableArguments {
  @Option(help: "File for the new token, readable by its owner alone; must not be there yet.")
  var tokenOutput: String?

  /// Hands a new token to whoever asked for it, if `order` makes the daemon take it.
  ///
  /// Its file is written first: a token that the daemon knows and nobody else would be lost.
  func hand(
    _ token: NewToken, json: Bool, order: (NewToken) throws -> [UInt8]
  ) throws -> Bool {
    if let tokenOutput { try FileBytes.create(tokenOutput, Array("\(token.text)\n".utf8)) }
    let answer: [UInt8]
    do {
      answer = try order(token)
    } catch {
      if let tokenOutput { FileBytes.remove(tokenOutput) }
      throw error
    }
    let shown = tokenOutput == nil ? token.text : nil
    if json {
      let detail = try ControlJSON.decode(NamespaceDetail.self, from: answer)
      try Output.line(TokenAnswer(namespace: detail, token: shown))
    } else {
      Output.line(shown ?? "the token is in \(tokenOutput ?? "")")
    }
    return true
  }

  private struct TokenAnswer: Encodable {
    let namespace: NamespaceDetail
    let token: String?
  }
}
