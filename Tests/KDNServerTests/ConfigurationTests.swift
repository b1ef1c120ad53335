import Foundation
import KDNCore
import KDNTransport
import Testing

@testable import KDNServer

@Suite("The configuration")
struct ConfigurationTests {
  private static let yaml = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../../Config/kdnd.yaml").standardized

  private func fault(
    flags: [String: [String]] = [:], environment: [String: String] = [:], file: String? = nil
  ) -> [FieldFault] {
    do {
      _ = try ServerConfiguration(flags: flags, environment: environment, file: file)
      return []
    } catch {
      return error.faults
    }
  }

  @Test("has defaults that are safe: loopback, 1 GiB, open only to this host")
  func defaults() throws {
    let configuration = try ServerConfiguration()
    #expect(configuration.endpoints == [.tcp(host: "127.0.0.1", port: 9440)])
    #expect(configuration.memory == ByteCount(1 << 30))
    #expect(configuration.hasDevelopmentNamespace)
    #expect(configuration.limits == Limits())
    #expect(configuration.admin.endpoints.map(\.host) == ["127.0.0.1"])
    #expect(configuration.admin.endpoints.map(\.port) == [9441])
    #expect(configuration.admin.administrators.isEmpty)
    #expect(configuration.tls.endpoints.isEmpty)
    #expect(configuration.unixMode == 0o660)
    #expect(configuration.slowRequestMilliseconds == 100)
  }

  @Test("the shipped file holds every key with its default, and no other")
  func shippedFile() throws {
    let text = try String(contentsOf: Self.yaml, encoding: .utf8)
    let configuration = try ServerConfiguration(file: text)
    for (setting, value) in configuration.effective {
      #expect(value.origin == .file, "\(setting.key) is not in the file")
      #expect(value.texts == setting.defaults, "\(setting.key)")
      let mark = setting.isReloadable ? " (reload)\n" : "\n"
      #expect(text.contains("# \(setting.help) [\(setting.unit)]\(mark)"), "\(setting.key)")
    }
    #expect(configuration.effective.count == Setting.all.count)
  }

  @Test("flags win over the environment, over the file, over defaults")
  func precedence() throws {
    let file = "ram: 100MiB\nloops: 3\nslab: 16MiB\nmax_keys: 7\n"
    let environment = ["KDN_RAM": "200MiB", "KDN_LOOPS": "4", "OTHER": "1"]
    let configuration = try ServerConfiguration(
      flags: ["ram": ["300MiB"]], environment: environment, file: file)
    #expect(configuration.memory == ByteCount(300 << 20))
    #expect(configuration.loopCount == 4)
    #expect(configuration.slab == ByteCount(16 << 20))
    let origins = Dictionary(
      uniqueKeysWithValues: configuration.effective.map { ($0.setting.key, $0.value.origin) })
    #expect(origins["ram"] == .flag)
    #expect(origins["loops"] == .environment)
    #expect(origins["slab"] == .file)
    #expect(origins["credit"] == .preset)
  }

  @Test("an unknown key is refused wherever it stands")
  func unknownKeys() {
    #expect(fault(file: "rma: 1GiB\n").map(\.field) == ["rma"])
    #expect(fault(flags: ["rma": ["1GiB"]]).map(\.field) == ["rma"])
  }

  @Test(
    "a value outside its limits is refused with its key",
    arguments: [
      ("ram", "1GX"), ("ram", "1MiB"), ("ram", "-1"), ("ram", ""), ("loops", "x"),
      ("loops", "-1"), ("loops", "257"), ("tcp", "[\"127.0.0.1\"]"), ("max_object", "0"),
      ("huge_pages", "maybe"), ("log_level", "loud"), ("log_format", "xml"),
      ("default_lease_ms", "60001"), ("default_deadline_ms", "600001"), ("max_keys", "0"),
      ("namespaces", "[\"alice\"]"), ("namespaces", "[\"alice:12\"]"),
      ("namespaces", "[\"a b:\(String(repeating: "0", count: 64))\"]"), ("credit", "{}"),
      ("ram", "[1GiB, 2GiB]"), ("prefault", "perhaps"),
      ("unix", String(repeating: "x", count: 108)),
      ("disk", "[/var/cache/kdn]"), ("disk", "[\"relative:2GiB\"]"), ("disk", "[\":2GiB\"]"),
      ("disk", "[\"/a:2GB much\"]"), ("disk", "[\"/a:\"]"), ("disk", "[\"/a:1023MiB\"]"),
      ("disk", "[\"/a:2GiB\", \"/a:2GiB\"]"), ("disk", "[\"/a/b:2GiB\", \"/a//./b/:3GiB\"]"),
      ("disk_segment", "63KiB"), ("disk_segment", "5GiB"), ("disk_segment", "1000000"),
      ("disk_engine", "libaio"), ("disk_depth", "0"), ("disk_depth", "129"),
      ("disk_admission", "some"), ("disk_write_budget", "-1"), ("disk_write_budget", "2000TiB"),
      ("disk_write_delay_ms", "3600001"), ("disk_write_delay_ms", "soon"),
      ("disk_write_behind", "0"), ("disk_staging", "1MB"), ("disk_staging", "2TiB"),
    ])
  func badValues(key: String, text: String) {
    let faults = fault(file: "\(key): \(text)\n")
    #expect(!faults.isEmpty)
    #expect(faults.allSatisfy { $0.field == key }, "\(faults)")
  }

  @Test("no directory is no disk tier")
  func noDisk() throws {
    let disk = try ServerConfiguration().disk
    #expect(!disk.isWanted)
    #expect(disk.segment == ByteCount(256 << 20))
    #expect(disk.engine == .auto)
    #expect(disk.depth == 8)
    #expect(disk.admission == .all)
    #expect(disk.dailyWrites == ByteCount(0))
    #expect(disk.writeDelayMilliseconds == 200)
    #expect(disk.writeBehind == ByteCount(256 << 20))
    #expect(disk.staging == ByteCount(64 << 20))
  }

  @Test("directories of the disk tier are paths and sizes; the last colon separates")
  func disk() throws {
    let file = """
      disk: ["/var/cache/kdn:200GiB", "/mnt/odd:name//:1GiB"]
      disk_segment: 64MiB
      disk_engine: io_uring
      disk_admission: second_hit
      disk_write_budget: 1TB
      """
    let disk = try ServerConfiguration(file: file).disk
    #expect(disk.isWanted)
    #expect(disk.places.map(\.path) == ["/var/cache/kdn", "/mnt/odd:name"])
    #expect(disk.places.map(\.capacity) == [ByteCount(200 << 30), ByteCount(1 << 30)])
    #expect(disk.segment == ByteCount(64 << 20))
    #expect(disk.engine == .uring)
    #expect(disk.admission == .secondHit)
    #expect(disk.dailyWrites == ByteCount(1_000_000_000_000))
    let flags = ["disk": ["/a:1GiB", "/b:2GiB"]]
    #expect(try ServerConfiguration(flags: flags, file: file).disk.places.count == 2)
    let environment = ["KDN_DISK": "/a:256KiB", "KDN_DISK_SEGMENT": "64KiB"]
    #expect(try ServerConfiguration(environment: environment).disk.places[0].path == "/a")
  }

  @Test("a directory must hold four segments of the size that is configured")
  func diskHoldsSegments() {
    #expect(fault(file: "disk: [\"/a:1GiB\"]\ndisk_segment: 512MiB\n").map(\.field) == ["disk"])
    #expect(fault(file: "disk: [\"/a:2GiB\"]\ndisk_segment: 512MiB\n").isEmpty)
  }

  @Test("all faults are told at once")
  func allFaults() {
    let faults = fault(file: "ram: x\nloops: y\nslab: z\n")
    #expect(Set(faults.map(\.field)) == ["ram", "loops", "slab"])
  }

  @Test(
    "what is not YAML, or is no mapping, is refused", arguments: ["a: [", "- 1", "ram: 1\nram: 2"])
  func badFile(text: String) {
    #expect(!fault(file: text).isEmpty)
  }

  @Test("off loopback nobody enters without a token, and a daemon nobody can enter is refused")
  func developmentOnlyOnLoopback() throws {
    #expect(fault(flags: ["tcp": ["0.0.0.0:9440"]]).map(\.field) == ["namespaces"])
    let hash = String(repeating: "ab", count: 32)
    let configuration = try ServerConfiguration(
      flags: ["tcp": ["0.0.0.0:9440"], "namespaces": ["alice:\(hash)"]])
    #expect(!configuration.hasDevelopmentNamespace)
    #expect(fault(flags: ["development_namespace": ["off"]]).map(\.field) == ["namespaces"])
  }

  @Test("an address list in the environment is split at commas")
  func environmentList() throws {
    let configuration = try ServerConfiguration(
      environment: ["KDN_TCP": "127.0.0.1:1,[::1]:2"])
    #expect(configuration.endpoints.map(\.description) == ["127.0.0.1:1", "[::1]:2"])
  }
}
