import KDNCore
import KDNTransport
import Logging
import Testing

@testable import KDNServer

@Suite("The configuration of shared memory and RDMA")
struct LinkConfigurationTests {
  private func faults(_ file: String) -> [FieldFault] {
    do {
      _ = try ServerConfiguration(file: file)
      return []
    } catch {
      return error.faults
    }
  }

  @Test("offers shared memory to everybody on a Unix socket, and no RDMA, unless told otherwise")
  func defaults() throws {
    let configuration = try ServerConfiguration()
    #expect(
      configuration.sharedMemory
        == SharedMemorySettings(isWanted: true, users: [], window: ByteCount(64 << 20)))
    #expect(configuration.rdma == RDMASettings(endpoints: [], isTrusted: false))
    #expect(!configuration.offersSharedMemory, "without a Unix socket")
    #expect(try ServerConfiguration(file: "unix: /run/x.sock\n").offersSharedMemory)
    #expect(try !ServerConfiguration(file: "unix: /run/x.sock\nshm: off\n").offersSharedMemory)
    let passed = [(kind: LinkKind.unix, endpoint: Endpoint.unix(path: "/run/y.sock"))]
    #expect(try ServerConfiguration(passed: passed).offersSharedMemory)
  }

  @Test("takes users, a window, addresses and trust from file, environment and flags alike")
  func values() throws {
    let file = """
      shm_uids: ["0", "1000"]
      shm_window: 2MiB
      rdma: ["127.0.0.2:9442"]
      rdma_trusted: yes
      """
    let environment = [
      "KDN_SHM_UIDS": "0,1000", "KDN_SHM_WINDOW": "2MiB", "KDN_RDMA": "127.0.0.2:9442",
      "KDN_RDMA_TRUSTED": "yes",
    ]
    let flags = [
      "shm_uids": ["0", "1000"], "shm_window": ["2MiB"], "rdma": ["127.0.0.2:9442"],
      "rdma_trusted": ["yes"],
    ]
    for configuration in [
      try ServerConfiguration(file: file), try ServerConfiguration(environment: environment),
      try ServerConfiguration(flags: flags),
    ] {
      #expect(configuration.sharedMemory.users == [0, 1000])
      #expect(configuration.sharedMemory.window == ByteCount(2 << 20))
      #expect(configuration.rdma.endpoints == [.tcp(host: "127.0.0.2", port: 9442)])
      #expect(configuration.rdma.isTrusted)
    }
  }

  @Test(
    "refuses what is no such value, with its key",
    arguments: [
      ("shm", "on"), ("shm_uids", "[\"root\"]"), ("shm_uids", "[\"-1\"]"),
      ("shm_uids", "[\"4294967295\"]"), ("shm_uids", "[\"4294967296\"]"),
      ("shm_window", "4095B"), ("shm_window", "17GiB"), ("shm_window", "much"),
      ("rdma", "[\"10.0.0.1\"]"), ("rdma", "[\":9442\"]"), ("rdma_trusted", "maybe"),
    ])
  func badValues(key: String, text: String) {
    let found = faults("\(key): \(text)\n")
    #expect(found.map(\.field) == [key], "\(found)")
  }

  @Test("refuses more users than it could look through")
  func tooManyUsers() {
    let users = (0...SharedMemorySettings.usersMax).map { "\"\($0)\"" }.joined(separator: ",")
    #expect(faults("shm_uids: [\(users)]\n").map(\.limit) == [256])
  }

  @Test("opens no namespace to everybody if other hosts can come in over RDMA")
  func development() throws {
    #expect(faults("rdma: [\"10.0.0.1:9442\"]\n").map(\.field) == ["namespaces"])
    let hash = String(repeating: "ab", count: 32)
    let file = "rdma: [\"10.0.0.1:9442\"]\nnamespaces: [\"alice:\(hash)\"]\n"
    #expect(try !ServerConfiguration(file: file).hasDevelopmentNamespace)
  }

  @Test("lets a reload change users, window and trust, but not what is listened on")
  func reload() {
    let reloadable = Setting.all.filter(\.isReloadable).map(\.key)
    #expect(reloadable.contains("shm_uids") && reloadable.contains("shm_window"))
    #expect(reloadable.contains("rdma_trusted"))
    #expect(!reloadable.contains("shm") && !reloadable.contains("rdma"))
  }

  @Test(
    "plans room for windows beside the arena: eight of the largest, at most a sixteenth of all",
    arguments: [
      ("1GiB", "64MiB", 64 << 20), ("64GiB", "64MiB", 512 << 20), ("64GiB", "16GiB", 4 << 30),
      ("16MiB", "4KiB", 32 << 10),
    ])
  func windowRoom(ram: String, window: String, expected: Int) throws {
    let flags = ["ram": [ram], "shm_window": [window], "unix": ["/run/x.sock"]]
    let configuration = try ServerConfiguration(flags: flags)
    #expect(SharedMemory.windowBytes(of: configuration) == expected)
    var without = configuration
    without.endpoints = []
    #expect(SharedMemory.windowBytes(of: without) == 0)
  }
  @Test(
    "takes windows out of what whole slabs leave over, and a slab only where that is too little",
    arguments: [
      ("256MiB", 3 * 64 << 20, 12 << 20), ("384MiB", 5 * 64 << 20, 10 << 20),
      ("1GiB", 14 * 64 << 20, 64 << 20), ("96MiB", 64 << 20, 6 << 20), ("86MiB", 64 << 20, 1 << 19),
    ])
  func arenaPlan(ram: String, arena: Int, window: Int) throws {
    let configuration = try ServerConfiguration(
      flags: ["ram": [ram], "slab": ["64MiB"], "unix": ["/run/x.sock"]])
    let plan = try Storage.planArena(configuration, diskBytes: 0, Logger(label: "test"))
    #expect(plan.arenaBytes == arena)
    #expect(plan.windowBytes == window)
  }
}
