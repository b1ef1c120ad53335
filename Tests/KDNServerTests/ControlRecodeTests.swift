import KDNClient
import KDNControl
import KDNCore
import KDNMemory
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

@Suite("Orders to keep objects in another codec")
struct ControlRecodeTests {
  private let fixture: ControlFixture

  init() throws { fixture = try ControlFixture() }

  private func putZeros(_ client: Client, _ names: [String]) throws -> [ObjectKey] {
    let bytes = [UInt8](repeating: 7, count: 1 << 20)
    var keys: [ObjectKey] = []
    for name in names {
      let key = fixture.opaque(name)
      let answer = try client.put(
        PutBeginRequest(key: key, totalBytes: bytes.count), bytes: bytes)
      #expect(answer == .published)
      keys.append(key)
    }
    return keys
  }

  /// The last job once it is over.
  private func ended(_ server: Server, _ client: Client) throws -> RecodeReport {
    while true {
      let job = try #require(server.control.recodings().first)
      if job.state.isOver { return job }
      try client.ping()
    }
  }

  @Test("recode what they name, tell how far they are, and are in the audit log and the events")
  func recodes() async throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let keys = try putZeros(client, ["a", "b", "c"])
    _ = try fixture.putChain(client, 2)
    let named = RecodeOrder(
      namespace: "default", codec: "zstd", hashes: ["\(keys[0].hash)"], tiers: ["ram"])
    let begun = try await server.control.recode(named, by: fixture.who)
    #expect(begun.id == 1 && begun.state == .counting && begun.administrator == "ops")
    #expect(begun.scope == "1 hashes" && begun.tiers == ["ram"] && !begun.dryRun)
    let first = try ended(server, client)
    #expect(first.state == .done && first.recodedObjects == 1 && first.objectsTotal == 1)
    #expect(first.bytesBefore == 1 << 20 && first.bytesAfter < 1000 && first.declined.isEmpty)
    #expect(try #require(first.endedUnixMilliseconds) >= first.startedUnixMilliseconds)
    var all = RecodeOrder(namespace: "default", codec: "zstd", all: true, dryRun: true)
    _ = try await server.control.recode(all, by: fixture.who)
    let counted = try ended(server, client)
    #expect(counted.id == 2 && counted.dryRun && counted.recodedObjects == 0)
    #expect(counted.recodableObjects == 2 && counted.objectsTotal == 3)
    #expect(counted.declined == ["same_form": 1])
    all.dryRun = nil
    _ = try await server.control.recode(all, by: fixture.who)
    #expect(try ended(server, client).recodedObjects == 2)
    let codecs = server.control.report().codecs
    #expect(codecs.first { $0.name == "zstd" }?.objects == 3)
    #expect(server.control.report().coding?.recodedTotal == 3)
    for key in keys {
      #expect(try client.get(key, capacity: 1 << 20).bytes == [UInt8](repeating: 7, count: 1 << 20))
    }
    #expect(server.control.recodings().map(\.id) == [3, 2, 1])
    let lines = fixture.record.lines
    #expect(lines.map(\.message) == ["recode", "recode", "recode"])
    #expect(lines[0].values["codec"] == "zstd" && lines[0].values["job"] == "1")
    let kinds = server.control.events(after: 1, limit: 20).map(\.kind)
    #expect(kinds.filter { $0 == "recoding" }.count == 3)
    #expect(kinds.filter { $0 == "recoded" }.count == 3)
  }

  @Test("bring exact forms back to what was stored")
  func back() async throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let keys = try putZeros(client, ["a", "b"])
    for codec in ["lz4", "raw", "zstd", "lz4", "raw"] {
      _ = try await server.control.recode(
        RecodeOrder(namespace: "default", codec: codec, all: true), by: fixture.who)
      #expect(try ended(server, client).recodedObjects == 2, "\(codec)")
    }
    #expect(server.control.report().codecs.first { $0.name == "opaque" }?.objects == 2)
    #expect(
      try client.get(keys[1], capacity: 1 << 20).bytes == [UInt8](repeating: 7, count: 1 << 20))
  }

  static let unknown = String(repeating: "0", count: 64)

  @Test(
    "that come to nothing are refused, and change nothing",
    arguments: [
      (
        RecodeOrder(namespace: "default", codec: "gzip", all: true), ControlFault.Code.badRequest,
        "codec"
      ),
      (RecodeOrder(namespace: "default", codec: "exact"), .badRequest, "all"),
      (
        RecodeOrder(namespace: "default", codec: "exact", all: true, document: "d"), .badRequest,
        "all"
      ),
      (RecodeOrder(namespace: "nobody", codec: "exact", all: true), .notFound, "namespace"),
      (RecodeOrder(namespace: "default", codec: "small", all: true), .conflict, "codec"),
      (
        RecodeOrder(namespace: "default", codec: "exact", all: true, tiers: ["disk"]),
        .unavailable, "tiers"
      ),
      (
        RecodeOrder(namespace: "default", codec: "exact", all: true, tiers: ["tape"]),
        .badRequest, "tiers"
      ),
      (RecodeOrder(namespace: "default", codec: "exact", document: "d"), .notFound, "document"),
      (RecodeOrder(namespace: "default", codec: "exact", hashes: [unknown]), .notFound, "hashes"),
      (
        RecodeOrder(namespace: "default", codec: "exact", hashes: ["00"]), .badRequest,
        "hashes[0]"
      ),
      (RecodeOrder(namespace: "default", codec: "zstd", layouts: [unknown]), .badRequest, "codec"),
      (RecodeOrder(namespace: "default", codec: "raw", all: true), .conflict, "codec"),
    ] as [(RecodeOrder, ControlFault.Code, String)])
  func refusals(order: RecodeOrder, code: ControlFault.Code, field: String) async throws {
    let server = try fixture.start("codec_ram: exact")
    let fault = await fixture.fault { try await server.control.recode(order, by: fixture.who) }
    #expect(fault?.code == code && fault?.field == field, "\(String(describing: fault))")
    #expect(server.control.recodings().isEmpty)
    #expect(fixture.record.lines.map { $0.values["result"] } == ["refused"])
    let cancelled = await fixture.fault {
      try server.control.cancelRecode(of: order.namespace, by: fixture.who)
    }
    #expect(cancelled?.code == .notFound)
  }
}

/// Does nothing that it is told to.
private struct IdleExecutor: CodingExecutor {
  func run(_ work: @escaping @Sendable () -> Void) {}
}

/// Jobs that were told to be over.
private final class Ended: Sendable {
  private let reports = Guarded<[RecodeReport]>([])

  var all: [RecodeReport] { reports.withLock { $0 } }

  func add(_ report: RecodeReport) { reports.withLock { $0.append(report) } }
}

@Suite("Jobs that keep objects in another codec")
struct RecodeJobsTests {
  private let who = AdministratorName("ops")
  private let pool: Pool
  private let ended = Ended()

  init() throws {
    let arena = try Arena(
      ArenaConfiguration(
        capacityBytes: 1 << 20, slabBytes: 64 << 10, hugePages: .off, lockMemory: .off,
        numa: .off, prefault: false))
    pool = Pool(
      configuration: PoolConfiguration(memoryBytesMax: 64 << 20), arena: arena,
      clock: SystemClock())
    pool.startCoding(
      StoredCoder(profiles: LoadedProfiles(pool: pool)), decoding: IdleExecutor(),
      encoding: IdleExecutor())
  }

  private func begin(_ jobs: RecodeJobs, _ name: String) throws -> RecodeReport {
    let namespace = try pool.namespace(NamespaceName(name))
    let target = try RecodeTarget(
      RecodeOrder(namespace: name, codec: "exact", all: true), in: namespace, of: pool,
      hasDisk: false, namesMax: 8)
    return try jobs.begin(target, in: namespace, of: pool, by: who)
  }

  private func code(_ body: () throws -> RecodeReport) -> ControlFault.Code? {
    do {
      _ = try body()
      return nil
    } catch {
      return (error as? ControlFault)?.code
    }
  }

  @Test("are one of a namespace at a time, and so many of all")
  func limits() throws {
    let jobs = RecodeJobs { _, _ in }
    #expect(try begin(jobs, "a").id == 1)
    let second = code { try begin(jobs, "a") }
    #expect(second == .conflict)
    for number in 1..<RecodeJobs.activeMax { _ = try begin(jobs, "other-\(number)") }
    let tooMany = code { try begin(jobs, "b") }
    #expect(tooMany == .busy)
    #expect(jobs.reports.count == RecodeJobs.activeMax)
    #expect(jobs.reports.allSatisfy { $0.state == .counting })
  }

  @Test("end when they are cancelled, are remembered up to a number, and tell once")
  func cancelled() throws {
    let jobs = RecodeJobs { [ended] report, _ in ended.add(report) }
    #expect(jobs.cancel(of: "a") == nil)
    for number in 1...RecodeJobs.keptMax + 3 {
      #expect(try begin(jobs, "a").id == UInt64(number))
      #expect(jobs.cancel(of: "a")?.state == .cancelling)
      let early = code { try begin(jobs, "a") }
      #expect(early == .conflict)
      pool.tick(now: SystemClock().now())
      #expect(jobs.reports.first?.state == .cancelled)
      #expect(jobs.cancel(of: "a") == nil)
    }
    #expect(jobs.reports.count == RecodeJobs.keptMax)
    let told = ended.all
    #expect(told.count == RecodeJobs.keptMax + 3 && told.allSatisfy { $0.state == .cancelled })
    #expect(told.allSatisfy { $0.endedUnixMilliseconds != nil })
  }
}
