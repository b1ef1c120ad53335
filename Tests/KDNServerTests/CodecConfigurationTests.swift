import Foundation
import KDNCore
import KDNWire
import Testing

@testable import KDNPool
@testable import KDNServer

@Suite("The configuration of codecs")
struct CodecConfigurationTests {
  private static let hash = TokenHash(of: "t").hexadecimal

  private func configuration(_ flags: [String: [String]]) throws -> ServerConfiguration {
    try ServerConfiguration(flags: flags)
  }

  private func policy(
    _ configuration: ServerConfiguration, file: String? = nil, profiles: [String] = []
  ) throws -> EncodingPolicy {
    var state = try ConfigurationState(configuration)
    if let file { state.file = try TenantFile(Array(file.utf8)) }
    var ready: [NamespaceName: Set<PayloadCodec>] = [:]
    for name in profiles { ready[try NamespaceName(name)] = [.balanced, .small, .archive] }
    return configuration.codecs.policy(state.snapshot, ready: ready)
  }

  private func codec(
    _ policy: EncodingPolicy, _ namespace: String, _ kind: ObjectKey.Kind, _ tier: CodingTier,
    idle: Int = 1000
  ) throws -> UInt8? {
    policy.codec(
      for: EncodingSubject(
        namespace: try NamespaceName(namespace), kind: kind, tier: tier, byteCount: 1 << 20,
        idleSeconds: idle))
  }

  @Test("encodes nothing unless it is told to")
  func off() throws {
    let configuration = try configuration([:])
    #expect(configuration.codecs.kept == KeptCodecs(ram: .raw, disk: .raw, opaque: .raw))
    #expect(configuration.codecs.idleSecondsMin == 60)
    #expect(configuration.codecs.processorPercent == 50)
    #expect(try policy(configuration) == .off)
  }

  @Test("says what KV becomes in RAM once it is idle, and on its way to disk")
  func tiers() throws {
    let configuration = try configuration([
      "codec_ram": ["balanced"], "codec_disk": ["archive"], "codec_opaque": ["zstd"],
      "codec_age": ["90"],
    ])
    let policy = try policy(configuration, profiles: ["default"])
    #expect(try codec(policy, "default", .layout, .ram, idle: 89) == nil)
    #expect(try codec(policy, "default", .layout, .ram, idle: 90) == 3)
    #expect(try codec(policy, "default", .layout, .disk, idle: 0) == 5)
    #expect(try codec(policy, "default", .opaque, .ram, idle: 90) == 16)
    #expect(try codec(policy, "default", .opaque, .disk, idle: 0) == 16)
  }

  @Test("a namespace's own codecs go first, tier by tier, and off means off")
  func namespaces() throws {
    let configuration = try configuration([
      "namespaces": ["red:\(Self.hash)", "blue:\(Self.hash)"],
      "codec_ram": ["high"], "codec_disk": ["small"],
      "namespace_codecs": ["red ram=exact opaque=lz4", "default disk=off"],
    ])
    let policy = try policy(configuration, profiles: ["red"])
    #expect(try codec(policy, "red", .layout, .ram) == 1)
    #expect(try codec(policy, "red", .layout, .disk) == 4)
    #expect(try codec(policy, "red", .opaque, .disk) == 17)
    #expect(try codec(policy, "blue", .layout, .ram) == 2)
    #expect(try codec(policy, "blue", .opaque, .disk) == nil)
    #expect(try codec(policy, "default", .layout, .disk) == nil)
    #expect(try codec(policy, "default", .layout, .ram) == 2)
  }

  @Test("the file of namespaces says them too, and keeps them when it is written")
  func file() throws {
    let text = """
      {"schema": 1, "namespaces": [
        {"name": "green", "codecs": {"disk": "archive", "ram": "off"}}, {"name": "grey"}]}
      """
    let policy = try policy(
      configuration(["codec_ram": ["small"]]), file: text, profiles: ["green", "grey"])
    #expect(try codec(policy, "green", .layout, .disk) == 5)
    #expect(try codec(policy, "green", .layout, .ram) == nil)
    #expect(try codec(policy, "grey", .layout, .ram) == 4)
    let file = try TenantFile(Array(text.utf8))
    #expect(try TenantFile(file.bytes(nowMilliseconds: 0)) == file)
    #expect(file.tenants[try NamespaceName("green")]?.codecs.disk == .archive)
  }

  @Test("a codec that needs a profile is asked for only where one is in use")
  func profiles() throws {
    let configuration = try configuration([
      "codec_ram": ["small"], "codec_disk": ["high"],
      "namespaces": ["red:\(Self.hash)", "blue:\(Self.hash)"],
      "namespace_codecs": ["red disk=archive"],
    ])
    let none = try policy(configuration)
    #expect(try codec(none, "blue", .layout, .ram) == nil)
    #expect(try codec(none, "red", .layout, .disk) == 2, "what holds for all is left")
    let some = try policy(configuration, profiles: ["red"])
    #expect(try codec(some, "red", .layout, .ram) == 4)
    #expect(try codec(some, "red", .layout, .disk) == 5)
    #expect(try codec(some, "blue", .layout, .ram) == nil)
    #expect(try codec(some, "blue", .layout, .disk) == 2)
  }

  @Test(
    "what cannot be is refused by its field",
    arguments: [
      ("codec_ram", ["zstd"]), ("codec_ram", ["raw"]), ("codec_disk", ["tiny"]),
      ("codec_opaque", ["small"]), ("codec_age", ["-1"]), ("codec_cpu", ["0"]),
      ("codec_cpu", ["all"]), ("namespace_codecs", [""]), ("namespace_codecs", ["default"]),
      ("namespace_codecs", ["nobody ram=exact"]), ("namespace_codecs", ["default ram"]),
      ("namespace_codecs", ["default ram=lz4"]), ("namespace_codecs", ["default gpu=exact"]),
      ("namespace_codecs", ["default ram=exact ram=high"]),
      ("namespace_codecs", ["default ram=exact", "default disk=high"]),
    ])
  func refused(key: String, values: [String]) {
    do {
      _ = try configuration([key: values])
      Issue.record("\(values) was taken")
    } catch {
      #expect((error as? ConfigurationFault)?.faults.map(\.field) == [key])
    }
  }

  @Test(
    "a file with codecs that cannot be is refused",
    arguments: [#"{"ram": "tiny"}"#, #"{"gpu": "exact"}"#, #"{"opaque": "high"}"#, #""small""#])
  func refusedFile(codecs: String) {
    let text = #"{"schema": 1, "namespaces": [{"name": "a", "codecs": \#(codecs)}]}"#
    #expect(throws: FieldFault.self) { try TenantFile(Array(text.utf8)) }
  }

  @Test("codecs and their age change with a reload, the processor's share does not")
  func reload() throws {
    let old = try ConfigurationState(configuration([:]))
    let new = try ConfigurationState(
      configuration(["codec_ram": ["exact"], "codec_age": ["1"], "namespace_codecs": []]))
    #expect(try new.changes(from: old) == ["codec_ram", "codec_age"])
    let other = try ConfigurationState(configuration(["codec_cpu": ["10"]]))
    #expect(throws: ConfigurationFault.self) { try other.changes(from: old) }
  }
}
