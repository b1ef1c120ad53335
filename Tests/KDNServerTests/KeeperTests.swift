import Foundation
import KDNControl
import KDNCore
import Testing

@testable import KDNServer

@Suite("The keeper of configuration and tenants")
struct KeeperTests {
  private static let hash = String(repeating: "ab", count: 32)
  private static let other = String(repeating: "cd", count: 32)

  /// What was heard, in its order.
  private final class Notes<Note: Sendable>: Sendable {
    private let guarded = Guarded<[Note]>([])

    var all: [Note] { guarded.withLock { $0 } }
    func add(_ note: Note) { guarded.withLock { $0.append(note) } }
  }

  /// A folder with a configuration file and a file of namespaces that is not there yet.
  private final class Place {
    let folder: URL
    let yaml: URL
    let tenants: URL
    let clock = ManualWallClock()
    let applied = Notes<[String]>()
    let dropped = Notes<String>()

    init(_ text: String = "") throws {
      folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      yaml = folder.appending(path: "kdnd.yaml")
      tenants = folder.appending(path: "namespaces.json")
      try write(text)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    func write(_ text: String) throws {
      let whole = "namespaces_file: \(tenants.path)\n" + text
      try whole.write(to: yaml, atomically: true, encoding: .utf8)
    }

    func keeper() throws -> ConfigurationKeeper {
      let source = ConfigurationSource(path: yaml.path)
      let keeper = ConfigurationKeeper(
        try ConfigurationState(source.read()), source: source, wallClock: clock)
      keeper.start(
        apply: { [applied] _, changed in applied.add(changed ?? []) },
        drop: { [dropped] name in
          dropped.add(name.text)
          return nil
        })
      return keeper
    }
  }

  private func fault(_ keeper: ConfigurationKeeper) async -> ControlFault? {
    do {
      _ = try await keeper.reload()
      return nil
    } catch {
      return error
    }
  }

  @Test("applies all that changed and can, and tells the keys")
  func reload() async throws {
    let place = try Place("max_connections: 10\n")
    let keeper = try place.keeper()
    #expect(try await keeper.reload().changed.isEmpty)
    try place.write(
      "max_connections: 20\nlog_level: debug\nnamespaces: [\"red:\(Self.hash)\"]\n")
    let changed = try await keeper.reload().changed
    #expect(Set(changed) == ["max_connections", "log_level", "namespaces"])
    #expect(keeper.settings.values.connectionsMax == 20)
    #expect(keeper.namespaces().map(\.name) == ["default", "red"])
    #expect(place.applied.all.last == changed)
    #expect(keeper.reloadState.succeededTotal == 2 && keeper.reloadState.lastSucceeded)
  }

  @Test(
    "a reload with anything wrong in it changes nothing",
    arguments: [
      ("max_connections: 20\nram: 2GiB\nloops: 3\n", ["ram", "loops"]),
      ("max_connections: 20\nlog_level: loud\n", ["log_level"]),
      ("max_connections: 20\nfrobnicate: 1\n", ["frobnicate"]),
      ("max_connections: 20\nx: [\n", ["file"]),
      ("max_connections: 20\ntls_certificate: /none\ntls_key: /none\n", ["tls_certificate"]),
    ])
  func refusedReload(text: String, keys: [String]) async throws {
    let place = try Place("max_connections: 10\n")
    let keeper = try place.keeper()
    try place.write(text)
    let found = try #require(await fault(keeper))
    #expect(found.code == .badRequest)
    for key in keys { #expect(found.message.contains(key), "\(found.message)") }
    #expect(keeper.settings.values.connectionsMax == 10)
    #expect(place.applied.all.isEmpty)
    let state = keeper.reloadState
    #expect(!state.lastSucceeded && state.failedTotal == 1 && state.lastFault == found.message)
    try place.write("max_connections: 10\n")
    #expect(await fault(keeper) == nil)
    #expect(keeper.reloadState.lastFault == nil)
  }

  @Test("tenants that administrators change are on the device before they hold, for them alone")
  func change() async throws {
    let place = try Place()
    let keeper = try place.keeper()
    let limits = NamespaceLimits(ramBytesMax: 1 << 30)
    let added = try await keeper.change(.add(name: "red", limits: limits))
    #expect(added.limits == limits && added.source == "file" && added.tokens.isEmpty)
    _ = try await keeper.change(
      .addToken(name: "red", sha256: Self.hash, expiresInSeconds: nil))
    let mode = try FileManager.default.attributesOfItem(atPath: place.tenants.path)[
      .posixPermissions]
    #expect(mode as? Int == 0o600)
    #expect(try FileManager.default.contentsOfDirectory(atPath: place.folder.path).count == 2)
    let again = try place.keeper()
    #expect(again.namespaces().map(\.name) == ["default", "red"])
    #expect(again.namespaces().last?.tokens.map(\.id) == ["abababababab"])
    #expect(try await keeper.reload().changed.isEmpty, "its own file is no news")
  }

  @Test("rotation lets the old token in until the grace is over")
  func rotation() async throws {
    let place = try Place()
    let keeper = try place.keeper()
    let name = try NamespaceName("red")
    _ = try await keeper.change(.add(name: "red", limits: .none))
    for token in ["first", "second"] {
      _ = try await keeper.change(
        .rotate(name: "red", sha256: TokenHash(of: token).hexadecimal, graceSeconds: 60))
    }
    func admits(_ token: String) -> Bool {
      keeper.tenants.admits(
        name, token: token, peerNames: [], nowMilliseconds: place.clock.milliseconds())
    }
    #expect(admits("first") && admits("second"))
    place.clock.set(milliseconds: place.clock.milliseconds() + 60_000)
    #expect(!admits("first") && admits("second"))
  }

  @Test("a tenant that is removed is closed, its objects are dropped, then the name is free")
  func removal() async throws {
    let place = try Place()
    let keeper = try place.keeper()
    _ = try await keeper.change(.add(name: "red", limits: .none))
    _ = try await keeper.change(.remove(name: "red"))
    #expect(keeper.namespaces().map(\.name) == ["default"])
    #expect(place.dropped.all == ["red"])
    _ = try await keeper.change(.add(name: "red", limits: .none))
  }

  @Test("a removal that a crash cut short is finished by the next start")
  func unfinishedRemoval() async throws {
    let place = try Place()
    let name = try NamespaceName("red")
    var file = TenantFile()
    _ = try file.apply(.add(name: "red", limits: .none), taken: [], nowMilliseconds: 0)
    _ = try file.apply(.remove(name: "red"), taken: [], nowMilliseconds: 0)
    try PrivateFile.replace(place.tenants.path, with: file.bytes(nowMilliseconds: 0), field: "x")
    let keeper = try place.keeper()
    #expect(!keeper.tenants.admits(name, token: "", peerNames: [], nowMilliseconds: 0))
    while true {
      let bytes = try PrivateFile.read(place.tenants.path, bytesMax: 1 << 20, field: "x")
      if try TenantFile(bytes ?? []).leaving.isEmpty { break }
      await Task.yield()
    }
    #expect(place.dropped.all == ["red"])
    _ = keeper.reloadState
  }

  @Test("a name in both places, and a file that has gone, are refused")
  func contradictions() async throws {
    let place = try Place()
    let keeper = try place.keeper()
    _ = try await keeper.change(.add(name: "red", limits: .none))
    try place.write("namespaces: [\"red:\(Self.hash)\"]\n")
    #expect(await fault(keeper)?.message.contains("'red' stands in the configuration too") == true)
    try place.write("namespaces: [\"blue:\(Self.hash)\"]\n")
    #expect(await fault(keeper) == nil)
    await #expect(throws: ControlFault.self) {
      try await keeper.change(.remove(name: "blue"))
    }
    await #expect(throws: ControlFault.self) {
      try await keeper.change(.add(name: "default", limits: .none))
    }
    try FileManager.default.removeItem(at: place.tenants)
    #expect(await fault(keeper)?.message.contains("has gone") == true)
    #expect(keeper.namespaces().map(\.name) == ["blue", "default", "red"])
  }

  @Test("what cannot be written does not hold")
  func unwritable() async throws {
    let place = try Place()
    let keeper = try place.keeper()
    try FileManager.default.removeItem(at: place.folder)
    let failed = await Task { () -> ControlFault? in
      do {
        _ = try await keeper.change(.add(name: "red", limits: .none))
        return nil
      } catch {
        return error as? ControlFault
      }
    }.value
    #expect(failed?.code == .unavailable && failed?.field == "namespaces_file")
    #expect(keeper.namespaces().map(\.name) == ["default"])
  }

  @Test("who reloads tells before and after, whatever comes of it")
  func watchers() async throws {
    let place = try Place()
    let keeper = try place.keeper()
    let heard = Notes<String>()
    keeper.watchReloads(
      will: { heard.add("will") },
      did: { heard.add("did \($0.connectionsMax)") })
    _ = try await keeper.reload()
    try place.write("max_connections: 7\n")
    _ = try await keeper.reload()
    try place.write("max_connections: none\n")
    #expect(await fault(keeper) != nil)
    #expect(heard.all == ["will", "did 4096", "will", "did 7", "will", "did 7"])
  }

  @Test("secrets are counted, not shown; administrators are found by their tokens")
  func administrators() throws {
    let token = "an admin's token"
    let configuration = try ServerConfiguration(
      flags: ["admin_tokens": ["ann:\(TokenHash(of: token).hexadecimal)", "bob:\(Self.other)"]])
    let keeper = ConfigurationKeeper(try ConfigurationState(configuration))
    #expect(keeper.hasAdministrators)
    #expect(keeper.administrator(of: token)?.text == "ann")
    #expect(keeper.administrator(of: "") == nil)
    let entries = keeper.report().entries
    #expect(entries.first { $0.key == "admin_tokens" }?.values == ["2 entries"])
    #expect(entries.count == Setting.all.count)
    #expect(!"\(entries)".contains(Self.other))
  }
}
