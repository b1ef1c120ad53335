import Foundation
import KDNCore
import KDNTransport
import KDNWire
import Testing

@testable import KDNClient

@Suite("A connection inside TLS")
struct TLSTests {
  private func connect(
    to server: SecureServer, host: String = "127.0.0.1", trusting authoritiesPath: String? = nil,
    name: String? = nil, milliseconds: Int = 10_000
  ) throws -> Connection {
    let options = TLSClientOptions(
      authoritiesPath: authoritiesPath ?? server.certificatePath, serverName: name)
    return try Connection(
      .tcp(host: host, port: server.port), namespace: NamespaceName("test"),
      connectTimeoutMilliseconds: milliseconds, tls: options)
  }

  @Test("greets a server that is the one it has to be, and makes requests")
  func connects() throws {
    let answer = Frames.answer(.exists(ExistsResponse(present: Bitmap(count: 0))), id: 2)
    let server = try SecureServer(says: Frames.hello() + answer)
    let connection = try connect(to: server)
    #expect(connection.cipherSuite == "TLS_AES_128_GCM_SHA256")
    try Client(connection).ping()
    connection.close()
    #expect(failure { try Client(connection).ping() } == .lost("closed by this client"))
  }

  @Test("may ask for another name than that of the host it connects to")
  func asksForName() throws {
    let connection = try connect(to: SecureServer(says: Frames.hello()), name: "localhost")
    #expect(connection.isOpen)
  }

  @Test("receives objects longer than many records straight into their buffers")
  func receivesObjects() throws {
    let bytes = pattern(3_000_000)
    let server = try SecureServer(
      says: Frames.hello() + Frames.get([Frames.hit(bytes)], payload: bytes))
    let connection = try connect(to: server)
    var buffer = [UInt8](repeating: 0, count: bytes.count)
    let results = try buffer.withUnsafeMutableBytes { place in
      try connection.get(
        [GetRequest.Item(key: opaqueKey(1))], into: [place])
    }
    #expect(results == [.hit(bytes: bytes.count, objectChecksum: Checksum(of: bytes))])
    #expect(buffer == bytes)
  }

  @Test("is not made to a server of a strange authority, and says so")
  func refusesStrangers() throws {
    let other = try SecureServer()
    let server = try SecureServer()
    let error = failure { try connect(to: server, trusting: other.certificatePath) }
    #expect(error?.description.contains("certificate verify failed") == true)
    #expect(isCannotConnect(error))
  }

  @Test("is not made to a server of another name")
  func refusesOtherNames() throws {
    let error = failure { try connect(to: SecureServer(), name: "example.org") }
    #expect(error?.description.contains("hostname mismatch") == true)
    #expect(isCannotConnect(error))
  }

  @Test("names the file that cannot be used")
  func namesFiles() throws {
    let error = failure { try connect(to: SecureServer(), trusting: "/nowhere/ca.pem") }
    #expect(error?.description.contains("authorities /nowhere/ca.pem: No such file") == true)
  }

  @Test("is not made over a Unix socket")
  func refusesUnix() throws {
    let error = failure {
      try Connection(
        .unix(path: "/tmp/x.sock"), namespace: NamespaceName("test"), tls: TLSClientOptions())
    }
    #expect(isCannotConnect(error))
  }

  @Test("gives up on a server that does not shake hands")
  func givesUp() throws {
    let server = try SecureServer(isSilent: true)
    #expect(failure { try connect(to: server, milliseconds: 100) } == .deadline)
  }

  @Test("gives up on a server that does not answer HELLO")
  func givesUpOnHello() throws {
    let server = try SecureServer(says: Array(Frames.hello().dropLast()))
    #expect(failure { try connect(to: server, milliseconds: 300) } == .deadline)
  }

  private func isCannotConnect(_ error: ClientError?) -> Bool {
    if case .cannotConnect = error { true } else { false }
  }
}

@Suite("An address")
struct ServerAddressTests {
  @Test("says where to connect and whether inside TLS")
  func parses() throws {
    let plain = try ServerAddress(parsing: "[::1]:9440", field: "address")
    #expect(plain.endpoint == .tcp(host: "::1", port: 9440))
    #expect(!plain.usesTLS)
    let secured = try ServerAddress(parsing: "tls://kdn.example.org:9443", field: "address")
    #expect(secured.endpoint == .tcp(host: "kdn.example.org", port: 9443))
    #expect(secured.usesTLS)
    #expect(secured.description == "tls://kdn.example.org:9443")
    let unix = try ServerAddress(parsing: "unix:///run/kdn.sock", field: "address")
    #expect(unix.endpoint == .unix(path: "/run/kdn.sock"))
    #expect(!unix.usesTLS)
  }

  @Test(
    "of another form is refused with its field",
    arguments: ["", "tls://", "tls://host", "tls://host:x", "unix://", "https://host:1:2"])
  func refuses(text: String) {
    let fault = #expect(throws: FieldFault.self) {
      try ServerAddress(parsing: text, field: "address")
    }
    #expect(fault?.field == "address")
  }
}
