import Crypto
import Testing

@testable import kdn

@Suite struct NewTokenTests {
  @Test("a token is 32 bytes in hexadecimal, and the daemon is told its SHA-256")
  func form() {
    let token = NewToken()
    #expect(token.text.count == 64)
    #expect(token.text.allSatisfy { $0.isHexDigit && !$0.isUppercase })
    let digest = SHA256.hash(data: Array(token.text.utf8))
    let expected = digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    #expect(token.sha256 == expected)
  }

  @Test("no two tokens are alike")
  func distinct() {
    #expect(Set((0..<1000).map { _ in NewToken().text }).count == 1000)
  }
}
