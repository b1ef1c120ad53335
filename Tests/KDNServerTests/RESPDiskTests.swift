import KDNClient
import KDNCore
import Testing

@testable import KDNServer

@Suite("A client of Redis of a server with disks")
struct RESPDiskTests {
  private static let flags = ["resp": ["127.0.0.1:0"]]

  @Test("finds after a restart what it stored last, never what that replaced")
  func restart() async throws {
    let disk = try DiskFixture()
    var server = try disk.start(Self.flags)
    var client = try RESPClient(server)
    for round in UInt8(1)...3 {
      for number in 0..<10 {
        let value = disk.bytes(20_000 + number, seed: round &* 16 &+ UInt8(number))
        #expect(try client.set("k\(number)", value) == "+OK")
      }
      #expect(try client.ask("DEL", "k9") == ":1")
      #expect(try client.ask("EXPIRE", "k8", "1000000") == ":1")
      #expect(await disk.stop(server))
      server = try disk.start(Self.flags)
      try disk.waitUntilReady(disk.connect(server))
      client = try RESPClient(server)
      for number in 0..<9 {
        let value = disk.bytes(20_000 + number, seed: round &* 16 &+ UInt8(number))
        #expect(try client.get("k\(number)") == value)
      }
      #expect(try client.get("k9") == nil && client.ask("TTL", "k7") == ":-1")
      // Days to go: under a sanitizer beside a thousand other tests a restart takes minutes.
      let seconds = try Int(client.ask("TTL", "k8").dropFirst()) ?? 0
      #expect(seconds > 900_000 && seconds <= 1_000_000)
      #expect(try client.ask("DBSIZE") == ":9")
    }
    #expect(await disk.stop(server))
  }

  @Test("gets values from disk in the order of its commands")
  func order() throws {
    let disk = try DiskFixture()
    let server = try disk.start(Self.flags.merging(["ram": ["32MiB"]]) { _, new in new })
    let client = try RESPClient(server)
    let size = 400_000
    for number in 0..<60 {
      #expect(try client.set("k\(number)", disk.bytes(size, seed: UInt8(number))) == "+OK")
      // What is evicted before it is on disk is honestly gone; a busy disk takes its time.
      while server.context.pool.statistics.writeBehind.waitingObjects > 0 {}
    }
    var stream: [UInt8] = []
    for number in 0..<60 {
      stream += RESPClient.command("GET", "k\(number)") + RESPClient.command("PING", "\(number)")
    }
    stream += RESPClient.command("SET", "k0", "new") + RESPClient.command("GET", "k0")
    try client.send(stream)
    for number in 0..<60 {
      #expect(try client.bulk() == disk.bytes(size, seed: UInt8(number)))
      #expect(try client.reply() == "\(number)")
    }
    #expect(try client.reply() == "+OK" && client.reply() == "new")
    #expect(server.context.pool.statistics.diskHits > 0)
    withExtendedLifetime(server) {}
  }
}
