import Foundation
import Testing

@testable import KDNTransport

@Suite("TLS that cannot be set up")
struct TLSFaultTests {
  @Test("names the file that is not there")
  func namesMissingFiles() throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    let missing = authority.path("missing.pem")
    let cases: [(TLSFault.Part, () throws -> TLSServer)] = [
      (.certificate, { try TLSServer(certificatePath: missing, keyPath: own.key) }),
      (.key, { try TLSServer(certificatePath: own.certificate, keyPath: missing) }),
      (
        .authorities,
        {
          try TLSServer(
            certificatePath: own.certificate, keyPath: own.key, clientCAPath: missing)
        }
      ),
    ]
    for (part, make) in cases {
      let fault = #expect(throws: TLSFault.self) { try make() }
      #expect(fault == TLSFault(part, path: missing, "No such file or directory"))
    }
  }

  @Test("names the file that holds something else", arguments: ["", "hello", "-----BEGIN X-----"])
  func namesGarbage(text: String) throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    let bad = authority.path("bad.pem")
    try text.write(toFile: bad, atomically: true, encoding: .utf8)
    let certificate = #expect(throws: TLSFault.self) {
      try TLSServer(certificatePath: bad, keyPath: own.key)
    }
    #expect(certificate?.part == .certificate && certificate?.path == bad)
    let key = #expect(throws: TLSFault.self) {
      try TLSServer(certificatePath: own.certificate, keyPath: bad)
    }
    #expect(key?.part == .key && key?.path == bad)
    let authorities = #expect(throws: TLSFault.self) {
      try TLSServer(certificatePath: own.certificate, keyPath: own.key, clientCAPath: bad)
    }
    #expect(authorities?.part == .authorities && authorities?.path == bad)
    #expect(authorities?.reason.isEmpty == false)
  }

  @Test("says that a key belongs to another certificate")
  func refusesOtherKey() throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    let other = try authority.sign("other")
    let fault = #expect(throws: TLSFault.self) {
      try TLSServer(certificatePath: own.certificate, keyPath: other.key)
    }
    #expect(fault?.part == .key)
    #expect(fault?.reason == "key values mismatch")
  }

  @Test("refuses an encrypted key at once instead of asking for a password")
  func refusesEncryptedKey() throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    let locked = authority.path("locked.key")
    try TestAuthority.openssl(
      ["pkey", "-in", own.key, "-aes128", "-passout", "pass:secret", "-out", locked])
    let fault = #expect(throws: TLSFault.self) {
      try TLSServer(certificatePath: own.certificate, keyPath: locked)
    }
    #expect(fault?.part == .key && fault?.path == locked)
    #expect(fault?.description.contains("secret") == false)
  }

  @Test("refuses a client's key without its certificate, and a name that is none")
  func refusesHalfClients() throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    #expect(throws: TLSFault.self) { try TLSClient(keyPath: own.key) }
    let pair = try SocketPair()
    let client = try TLSClient(authoritiesPath: authority.authorityPath)
    #expect(throws: TLSFault.self) { try client.makeChannel(on: pair.first, host: "") }
  }
}
