import KDNCore
import KDNTransport
import Testing

@testable import KDNServer

@Suite("Configuration of the RESP facade")
struct RESPConfigurationTests {
  private func fields(
    _ flags: [String: [String]], passed: [(kind: LinkKind, endpoint: Endpoint)] = []
  ) -> [String] {
    do throws(ConfigurationFault) {
      _ = try ServerConfiguration(flags: flags, passed: passed)
      return []
    } catch {
      return error.faults.map(\.field)
    }
  }

  @Test("is off by itself")
  func off() throws {
    let configuration = try ServerConfiguration()
    #expect(configuration.resp.endpoints.isEmpty && configuration.resp.padding == .auto)
    #expect(configuration.resp.existsLeaseMilliseconds == 10_000)
    #expect(configuration.resp.leaseSharePercent == 25 && configuration.resp.namespace == nil)
    #expect(configuration.resp.valueBytesMax == 512 << 20)
  }

  @Test("an address that other hosts reach closes the development namespace")
  func loopback() throws {
    #expect(try ServerConfiguration(flags: ["resp": ["127.0.0.1:0"]]).hasDevelopmentNamespace)
    #expect(fields(["resp": ["0.0.0.0:6379"]]) == ["namespaces"])
    let token = TokenHash(of: "x").hexadecimal
    let open = try ServerConfiguration(
      flags: ["resp": ["0.0.0.0:6379"], "namespaces": ["red:\(token)"]])
    #expect(!open.hasDevelopmentNamespace)
    #expect(
      fields([
        "resp": ["0.0.0.0:6379"], "namespaces": ["red:\(token)"], "resp_namespace": ["red"],
      ]) == ["resp_namespace"])
  }

  @Test(
    "what makes no sense is refused by name",
    arguments: [
      ("resp", "nowhere"), ("resp_namespace", "no/name"), ("resp_namespace", "unknown"),
      ("resp_exists_lease_ms", "-1"), ("resp_lease_share", "91"), ("resp_value_bytes_max", "0"),
      ("resp_value_bytes_max", "513MiB"), ("resp_padded_misses", "sometimes"),
    ])
  func nonsense(key: String, text: String) {
    #expect(fields([key: [text]]) == [key])
  }

  @Test("can be all that a daemon serves, and sockets that were passed stand in for it")
  func alone() throws {
    let alone = try ServerConfiguration(flags: ["tcp": [], "resp": ["127.0.0.1:0"]])
    #expect(alone.endpoints.isEmpty && alone.resp.endpoints.count == 1)
    let passed = Endpoint.tcp(host: "127.0.0.1", port: 4242)
    let other = try ServerConfiguration(
      flags: ["resp": ["127.0.0.1:1"]], passed: [(.resp, passed)])
    #expect(other.resp.endpoints == [passed])
  }
}
