import Foundation
import KDNClient
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

@Suite("A server's disk from start to end")
struct DiskLifecycleTests: ServerTesting {
  /// Why a server could not start.
  private func fault(_ body: () throws -> Server) -> String? {
    do {
      _ = try body()
      return nil
    } catch {
      guard case .disk(let problem) = error as? StartError else { return "not disk: \(error)" }
      return problem
    }
  }

  @Test("what was stored with durability disk is there after a restart, and so is its layout")
  func restart() async throws {
    let fixture = try DiskFixture()
    let group = LayoutGroup(kind: .opaque(bytesPerToken: 64), layers: [0])
    let layout = try Layout(elementType: .i8, groups: [group])
    let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
    let chunk = ObjectKey(hash: HashChain.opaque([1]), layout: layout.id, part: part)
    do {
      let server = try fixture.start()
      let client = try connect(server)
      _ = try client.register(layout)
      try fixture.putDurably(client, opaque("kept"), bytes(300_000, seed: 1))
      try fixture.putDurably(client, opaque("purged"), bytes(1000, seed: 2))
      let facts = PutBeginRequest(
        key: chunk, totalBytes: 1024, tokenCount: 16, durability: .disk)
      _ = try client.put(facts, bytes: bytes(1024, seed: 3))
      #expect(try client.purge(.keys([opaque("purged")])).objects == 1)
      #expect(await fixture.stop(server))
    }
    let server = try fixture.start()
    let client = try connect(server)
    try fixture.waitUntilReady(client)
    #expect(try client.get(opaque("kept"), capacity: 300_000).bytes == bytes(300_000, seed: 1))
    #expect(try client.get(chunk, capacity: 1024).bytes == bytes(1024, seed: 3))
    #expect(try client.get(opaque("purged"), capacity: 1000).result.miss != nil)
    let item = GetRequest.Item(key: chunk, selection: .part(part))
    var room = [UInt8](repeating: 0, count: 1024)
    let results = try room.withUnsafeMutableBytes { try client.connection.get([item], into: [$0]) }
    #expect(results[0].miss == nil, "the layout is known without being registered anew")
    let recovery = try numbers(client, "disk")["recovery"] as? [String: Any]
    #expect(recovery?["records"] as? Int ?? 0 >= 2)
    #expect(await fixture.stop(server))
  }

  @Test("a drain writes what waits, and leaves a checkpoint that the next start takes away")
  func checkpoint() async throws {
    let fixture = try DiskFixture()
    do {
      let server = try fixture.start(["disk_write_delay_ms": ["3600000"]])
      let client = try connect(server)
      for number in 0..<20 {
        let facts = PutBeginRequest(key: opaque("behind \(number)"), totalBytes: 200_000)
        _ = try client.put(facts, bytes: bytes(200_000, seed: UInt8(number)))
      }
      #expect(try !fixture.files.contains("checkpoint"))
      #expect(await fixture.stop(server))
    }
    #expect(try fixture.files.contains("checkpoint"))
    let server = try fixture.start()
    let client = try connect(server)
    try fixture.waitUntilReady(client)
    #expect(try !fixture.files.contains("checkpoint"))
    for number in 0..<20 {
      let got = try client.get(opaque("behind \(number)"), capacity: 200_000)
      #expect(got.bytes == bytes(200_000, seed: UInt8(number)))
    }
    #expect(await fixture.stop(server))
  }

  @Test("a drain that the disk does not let end in time is cut short")
  func drainCutShort() async throws {
    let fixture = try DiskFixture()
    let gate = DiskGate()
    let server = try fixture.start(["drain_timeout_ms": ["100"]], gate: gate)
    let client = try connect(server)
    gate.shut(.syncs)
    let facts = PutBeginRequest(key: opaque("late"), totalBytes: 1000)
    _ = try client.put(facts, bytes: bytes(1000, seed: 0))
    #expect(await !fixture.stop(server))
    gate.open()
  }

  @Test("a directory in use is told with who has it")
  func inUse() async throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let problem = try #require(fault { try fixture.start() })
    #expect(problem.contains(fixture.path) && problem.contains("\(getpid())"), "\(problem)")
    #expect(await fixture.stop(server))
  }

  @Test("a path that is a file is told")
  func notADirectory() throws {
    let fixture = try DiskFixture()
    try Data("mine".utf8).write(to: URL(filePath: fixture.path))
    let problem = try #require(fault { try fixture.start() })
    #expect(problem.contains("not a directory"), "\(problem)")
    #expect(try String(contentsOfFile: fixture.path, encoding: .utf8) == "mine")
  }

  @Test("a size that holds no log is told")
  func tooSmall() throws {
    let fixture = try DiskFixture()
    let flags = ["disk": ["\(fixture.path):256KiB"], "disk_segment": ["64KiB"]]
    let problem = try #require(fault { try fixture.start(flags) })
    #expect(problem.contains("capacity"), "\(problem)")
  }

  @Test("a newer format is refused by name and version, and dropped only when asked to")
  func newerFormat() async throws {
    let fixture = try DiskFixture()
    do {
      let server = try fixture.start()
      let client = try connect(server)
      try fixture.putDurably(client, opaque("old"), bytes(1000, seed: 1))
      #expect(await fixture.stop(server))
    }
    let superblock = URL(filePath: fixture.path).appending(path: "superblock")
    var block = [UInt8](try Data(contentsOf: superblock))
    #expect(Array(block[..<6]) == Array("KDND".utf8) + [1, 0])
    block[4] = 7
    let sum = Checksum(of: block, first: block.count - 8).value
    block.removeLast(8)
    block += (0..<8).map { UInt8(truncatingIfNeeded: sum >> (8 * $0)) }
    try Data(block).write(to: superblock)
    try Data("mine".utf8).write(to: URL(filePath: fixture.path).appending(path: "notes.txt"))
    let problem = try #require(fault { try fixture.start() })
    for word in ["newer", "format 7", "up to 1", "--reset-cache"] {
      #expect(problem.contains(word), "\(problem)")
    }
    let server = try fixture.start(resetsCache: true)
    let client = try connect(server)
    try fixture.waitUntilReady(client)
    #expect(try client.get(opaque("old"), capacity: 1000).result.miss == .neverStored)
    #expect(try fixture.files.contains("notes.txt"), "only our own files are dropped")
    #expect(await fixture.stop(server))
  }

  @Test("nothing is dropped while another daemon has the directory")
  func resetKeepsOut() async throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    try fixture.putDurably(client, opaque("kept"), bytes(1000, seed: 1))
    let before = try fixture.files
    #expect(fault { try fixture.start(resetsCache: true) } != nil)
    #expect(try fixture.files == before)
    #expect(try client.get(opaque("kept"), capacity: 1000).result.miss == nil)
    #expect(await fixture.stop(server))
  }
}
