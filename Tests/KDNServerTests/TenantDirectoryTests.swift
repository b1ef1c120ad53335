import KDNCore
import Testing

@testable import KDNServer

@Suite("The directory of tenants")
struct TenantDirectoryTests {
  private static let now: UInt64 = 1_800_000_000_000

  private func directory() throws -> TenantDirectory {
    let red = Tenant(
      try NamespaceName("red"), limits: NamespaceLimits(connectionsMax: 7),
      tokens: [
        TenantToken(TokenHash(of: "old"), expiresUnixMilliseconds: Self.now),
        TenantToken(TokenHash(of: "soon"), expiresUnixMilliseconds: Self.now + 1),
        TenantToken(TokenHash(of: "red")),
      ],
      certificateNames: ["CN=engine"], source: .configuration)
    let blue = Tenant(
      try NamespaceName("blue"), tokens: [TenantToken(TokenHash(of: "blue"))], source: .file)
    return TenantDirectory(
      TenantSnapshot([red, blue], development: try NamespaceName("default")))
  }

  private func pass(
    _ directory: TenantDirectory, _ name: String, _ token: String, _ names: [String] = [],
    now: UInt64 = now
  ) throws -> TenantPass? {
    directory.admit(
      try NamespaceName(name), token: token, peerNames: names, nowMilliseconds: now)
  }

  @Test("a token opens its own namespace only, until it ends")
  func tokens() throws {
    let directory = try directory()
    #expect(try pass(directory, "red", "red") != nil)
    #expect(try pass(directory, "red", "soon") != nil)
    #expect(try pass(directory, "red", "soon", now: Self.now + 1) == nil)
    for (name, token) in [
      ("red", "old"), ("red", "blue"), ("red", ""), ("blue", "red"), ("green", "red"),
      ("green", ""), ("default", "guess"),
    ] {
      #expect(try pass(directory, name, token) == nil, "\(name) \(token)")
    }
    #expect(try pass(directory, "default", "") != nil)
  }

  @Test("a verified certificate opens the namespaces that know one of its names")
  func certificates() throws {
    let directory = try directory()
    #expect(try pass(directory, "red", "", ["host", "CN=engine"]) != nil)
    #expect(try pass(directory, "blue", "", ["CN=engine"]) == nil)
    #expect(try pass(directory, "red", "wrong", ["CN=engine"]) != nil)
    #expect(try pass(directory, "red", "", ["engine"]) == nil)
  }

  @Test("a pass holds as long as what it was given for")
  func passes() throws {
    let directory = try directory()
    let token = try #require(try pass(directory, "red", "red"))
    let soon = try #require(try pass(directory, "red", "soon"))
    let certificate = try #require(try pass(directory, "red", "", ["CN=engine"]))
    let open = try #require(try pass(directory, "default", ""))
    let all = [token, soon, certificate, open]
    #expect(all.allSatisfy { directory.holds($0, nowMilliseconds: Self.now) })
    #expect(!directory.holds(soon, nowMilliseconds: Self.now + 1))
    let red = Tenant(
      try NamespaceName("red"), tokens: [TenantToken(TokenHash(of: "new"))], source: .file)
    let own = Tenant(try NamespaceName("default"), source: .file)
    directory.replace(TenantSnapshot([red, own], development: try NamespaceName("default")))
    #expect(all.allSatisfy { !directory.holds($0, nowMilliseconds: Self.now) })
    #expect(try pass(directory, "default", "") == nil, "a tenant of that name closes it")
  }

  @Test("limits are those of the tenant; the development namespace has its own")
  func limits() throws {
    let directory = try directory()
    #expect(directory.limits(of: try NamespaceName("red")).connectionsMax == 7)
    #expect(directory.limits(of: try NamespaceName("grey")) == .none)
    let limits = NamespaceLimits(requestsPerSecond: 3)
    directory.replace(
      TenantSnapshot(
        [], development: try NamespaceName("default"), developmentLimits: limits))
    #expect(directory.limits(of: try NamespaceName("default")) == limits)
  }
}
