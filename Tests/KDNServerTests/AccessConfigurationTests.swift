import Foundation
import KDNCore
import KDNTransport
import Testing

@testable import KDNServer

@Suite("The configuration of who may enter")
struct AccessConfigurationTests {
  private static let hash = String(repeating: "ab", count: 32)
  private static let other = String(repeating: "cd", count: 32)
  private static let seventeen: [String] = (10..<27).map { number in
    "a:" + String(repeating: "a", count: 10) + "\(number)" + String(repeating: "0", count: 52)
  }

  private func faults(_ flags: [String: [String]]) -> [FieldFault] {
    do {
      _ = try ServerConfiguration(flags: flags)
      return []
    } catch {
      return error.faults
    }
  }

  @Test("names tenants, their tokens, certificates and limits")
  func tenants() throws {
    let configuration = try ServerConfiguration(flags: [
      "namespaces": ["red:\(Self.hash)", "red:\(Self.other)", "blue:\(Self.other)"],
      "tls_certificate": ["/c"], "tls_key": ["/k"], "tls_client_ca": ["/ca"],
      "tls_clients": ["CN=engine 7=red", "spiffe://x/y=green"],
      "namespace_limits": ["red ram=4GiB disk=10GiB pinned=1GiB", "default connections=3"],
    ])
    #expect(configuration.tenants.map(\.name.text) == ["blue", "green", "red"])
    let red = try #require(configuration.tenants.last)
    #expect(red.tokens.map(\.id) == ["abababababab", "cdcdcdcdcdcd"])
    #expect(red.certificateNames == ["CN=engine 7"])
    #expect(
      red.limits
        == NamespaceLimits(ramBytesMax: 4 << 30, diskBytesMax: 10 << 30, pinnedBytesMax: 1 << 30))
    #expect(configuration.developmentLimits == NamespaceLimits(connectionsMax: 3))
    #expect(configuration.tenants[1].certificateNames == ["spiffe://x/y"])
  }

  @Test(
    "an entry that makes no sense is refused by its key",
    arguments: [
      ("namespaces", ["a:\(hash)", "a:\(hash)"]),
      ("namespaces", seventeen),
      ("namespace_limits", ["nobody ram=1GiB"]), ("namespace_limits", ["default"]),
      ("namespace_limits", [""]), ("namespace_limits", ["default ram"]),
      ("namespace_limits", ["default ram=0"]), ("namespace_limits", ["default ram=-1"]),
      ("namespace_limits", ["default ram=1GiB ram=2GiB"]),
      ("namespace_limits", ["default speed=1"]), ("namespace_limits", ["default requests=x"]),
      ("namespace_limits", ["default requests=1.5"]),
      ("namespace_limits", ["default ram=99999999999TiB"]),
      ("namespace_limits", ["default ram=1GiB", "default disk=1GiB"]),
      ("tls_clients", ["CN=x=default"]), ("unix_mode", ["1777"]), ("unix_mode", ["rw"]),
      ("admin", ["localhost"]), ("admin_hosts", ["a b"]), ("admin_hosts", [""]),
      ("admin_tokens", [hash]), ("admin_tokens", ["ann:12"]), ("admin_tokens", [":\(hash)"]),
      ("admin_tokens", ["ann:\(hash)", "bob:\(hash)"]), ("namespaces_file", ["relative"]),
      ("slow_request_ms", ["-1"]), ("tls", ["127.0.0.1"]),
    ])
  func badEntries(key: String, texts: [String]) {
    let found = faults([key: texts])
    #expect(!found.isEmpty)
    #expect(found.allSatisfy { $0.field.hasPrefix(key) }, "\(found)")
    #expect(!found.contains { "\($0)".contains(Self.hash) }, "no hash is repeated")
  }

  @Test("names in certificates are bounded and have an owner")
  func certificateNames() {
    let tls = ["tls_certificate": ["/c"], "tls_key": ["/k"], "tls_client_ca": ["/ca"]]
    let many: [String] = (0..<17).map { "n\($0)=red" }
    let long = String(repeating: "x", count: 256) + "=red"
    let rows: [[String]] = [
      ["=red"], ["CN=x="], ["CN=x"], ["CN=x=bad name"], ["a=red", "a=red"], many, [long],
    ]
    for texts in rows {
      let found = faults(tls.merging(["tls_clients": texts]) { _, new in new })
      #expect(found.map(\.field) == ["tls_clients"], "\(texts)")
    }
  }

  @Test("TLS needs certificate and key, and a TLS listener counts as one that others may reach")
  func tls() throws {
    #expect(
      faults(["tls": ["127.0.0.1:0"]]).map(\.field) == ["tls_certificate", "tls_key"])
    #expect(faults(["tls_certificate": ["/c"]]).map(\.field) == ["tls_key"])
    #expect(faults(["tls_client_ca": ["/ca"]]).map(\.field) == ["tls_client_ca"])
    let files = ["tls_certificate": ["/c"], "tls_key": ["/k"]]
    let exposed = files.merging(["tls": ["0.0.0.0:9443"]]) { _, new in new }
    #expect(faults(exposed).map(\.field) == ["namespaces"])
    let onlyTLS = exposed.merging(["tcp": [], "namespaces": ["a:\(Self.hash)"]]) { _, new in new }
    let configuration = try ServerConfiguration(flags: onlyTLS)
    #expect(configuration.endpoints.isEmpty)
    #expect(!configuration.hasDevelopmentNamespace)
  }

  @Test("a file of namespaces lets a daemon start that nobody can enter yet")
  func emptyFile() {
    let flags = ["tcp": ["0.0.0.0:9440"], "namespaces_file": ["/var/lib/kdn/namespaces.json"]]
    #expect(faults(flags).isEmpty)
  }

  @Test("an HTTP endpoint that other hosts reach needs a token")
  func exposedAdmin() {
    #expect(faults(["admin": ["0.0.0.0:9441"]]).map(\.field) == ["admin_tokens"])
    #expect(faults(["admin": ["0.0.0.0:9441"], "admin_tokens": ["ann:\(Self.hash)"]]).isEmpty)
    #expect(faults(["admin": []]).isEmpty)
  }

  @Test("sockets that were passed stand in for the addresses of their kind")
  func passed() throws {
    let unix = Endpoint.unix(path: "/run/kdn/kdnd.sock")
    let configuration = try ServerConfiguration(
      flags: ["unix": ["/elsewhere"]], passed: [(.unix, unix)])
    #expect(configuration.endpoints == [.tcp(host: "127.0.0.1", port: 9440), unix])
    let outside = Endpoint.tcp(host: "0.0.0.0", port: 9440)
    #expect(throws: ConfigurationFault.self) {
      _ = try ServerConfiguration(passed: [(.tcp, outside)])
    }
    #expect(throws: ConfigurationFault.self, "TLS without a certificate") {
      _ = try ServerConfiguration(passed: [(.tls, .tcp(host: "127.0.0.1", port: 1))])
    }
  }

  @Test("no bytes of a configuration file make the daemon trap")
  func mutatedFiles() {
    let whole = Array(
      """
      # comment
      tcp: ["127.0.0.1:9440", "[::1]:0"]
      unix: /run/kdn.sock
      disk: ["/a:1GiB"]
      namespaces: ["red:\(Self.hash)"]
      namespace_limits: ["red ram=4GiB requests=7"]
      ram: 2GiB
      log_level: debug
      """.utf8)
    var random = SystemRandomNumberGenerator()
    var accepted = 0
    for round in 0..<3000 {
      var bytes = whole
      if round % 3 == 0 { bytes.removeLast(Int.random(in: 0...whole.count, using: &random)) }
      for _ in 0..<Int.random(in: 0...4, using: &random) where !bytes.isEmpty {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &random)
        case 1: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 2: bytes.remove(at: place)
        default: bytes.insert("[]{}:\"'&*!|>-#%@`\n\t,".utf8.randomElement() ?? 0, at: place)
        }
      }
      do {
        _ = try ServerConfiguration(file: String(decoding: bytes, as: UTF8.self))
        accepted += 1
      } catch {
        #expect(!error.faults.isEmpty && error.faults.allSatisfy { !$0.field.isEmpty })
      }
    }
    #expect(accepted > 0, "some changes are harmless")
    for text in [String(repeating: "[", count: 200_000), String(repeating: "a: {", count: 50_000)] {
      #expect(throws: ConfigurationFault.self) { _ = try ServerConfiguration(file: text) }
    }
  }
}
