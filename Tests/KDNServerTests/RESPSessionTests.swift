import KDNClient
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

@Suite("A client of Redis")
struct RESPSessionTests: ServerTesting {
  static let red = TokenHash(of: "red token")
  static let lmcache = "m@00000000@0@" + String(repeating: "ab", count: 32)
  static let other = "m@00000000@0@" + String(repeating: "cd", count: 32)

  private func server(_ flags: [String: [String]] = [:]) throws -> Server {
    try makeServer(["resp": ["127.0.0.1:0"]].merging(flags) { _, new in new })
  }

  // MARK: Values

  @Test("stores and loads what native clients see under the hash of the key")
  func sharesObjects() throws {
    let server = try server()
    let client = try RESPClient(server)
    let value = bytes(300_000, seed: 3)
    #expect(try client.set("name", value) == "+OK")
    #expect(try client.get("name") == value)
    let native = try connect(server)
    #expect(try native.get(opaque("name"), capacity: value.count).bytes == value)
    _ = try native.put(
      PutBeginRequest(key: opaque("native"), totalBytes: 5), bytes: Array("hello".utf8))
    #expect(try client.get("native") == Array("hello".utf8))
    withExtendedLifetime(server) {}
  }

  @Test("gets no more bytes by one MGET than its connection's credit: the rest are misses")
  func boundsMany() throws {
    let server = try server(["credit": ["1MiB"]])
    let client = try RESPClient(server)
    let value = String(repeating: "v", count: 400_000)
    for key in ["a", "b", "c"] { #expect(try client.ask("SET", key, value) == "+OK") }
    #expect(try client.ask("MGET", "a", "b", "c") == "[\(value) \(value) null]")
    #expect(try client.ask("GET", "c") == value)
    withExtendedLifetime(server) {}
  }

  @Test("gets replies in the order of its commands, however they are cut into pieces")
  func pipelines() throws {
    let server = try server()
    let client = try RESPClient(server)
    var stream: [UInt8] = []
    for number in 0..<300 {
      stream += RESPClient.command("SET", "k\(number)", String(repeating: "v", count: number + 1))
      stream += RESPClient.command("GET", "k\(number)")
      stream += RESPClient.command("MGET", "k\(number)", "none", "k0")
    }
    let pieces = [1, 2, 3, 5, 7, 1000, 4096]
    var rest = stream[...]
    var turn = 0
    while !rest.isEmpty {
      try client.send(Array(rest.prefix(pieces[turn % pieces.count])))
      rest = rest.dropFirst(pieces[turn % pieces.count])
      turn += 1
    }
    for number in 0..<300 {
      let value = String(repeating: "v", count: number + 1)
      #expect(try client.reply() == "+OK")
      #expect(try client.reply() == value)
      #expect(try client.reply() == "[\(value) null v]")
    }
    withExtendedLifetime(server) {}
  }

  @Test("replaces values, conditionally too, and may give them a TTL")
  func replaces() throws {
    let server = try server()
    let client = try RESPClient(server)
    #expect(try client.ask("SET", "a", "1") == "+OK" && client.ask("SET", "a", "2") == "+OK")
    #expect(try client.ask("GET", "a") == "2")
    #expect(
      try client.ask("SET", "a", "3", "NX") == "null" && client.ask("SETNX", "a", "3") == ":0")
    #expect(try client.ask("SET", "b", "3", "XX") == "null" && client.ask("GET", "b") == "null")
    #expect(try client.ask("TTL", "a") == ":-1" && client.ask("TTL", "b") == ":-2")
    #expect(
      try client.ask("SET", "a", "4", "EX", "100") == "+OK" && client.ask("TTL", "a") == ":100")
    #expect(try client.ask("SET", "a", "5", "KEEPTTL") == "+OK" && client.ask("TTL", "a") == ":100")
    #expect(try client.ask("PERSIST", "a") == ":1" && client.ask("PERSIST", "a") == ":0")
    #expect(try client.ask("EXPIRE", "a", "50") == ":1" && client.ask("TTL", "a") == ":50")
    #expect(try client.ask("EXPIRE", "a", "10", "GT") == ":0")
    #expect(try client.ask("EXPIRE", "a", "10", "LT") == ":1" && client.ask("TTL", "a") == ":10")
    #expect(try client.ask("GET", "a") == "5" && client.ask("STRLEN", "a") == ":1")
    #expect(try client.ask("EXPIRE", "a", "-1") == ":1" && client.ask("EXISTS", "a") == ":0")
    #expect(try client.ask("SET", "a", "6", "GET").hasPrefix("-ERR SET with GET"))
    #expect(try client.ask("EXISTS", "a") == ":0")
    withExtendedLifetime(server) {}
  }

  @Test("is told of keys by name, number and type")
  func keys() throws {
    let server = try server()
    let client = try RESPClient(server)
    for number in 0..<5 { _ = try client.ask("SET", "k\(number)", "v") }
    #expect(try client.ask("DEL", "k0", "k0", "none") == ":1")
    #expect(try client.ask("EXISTS", "k1", "k1", "none") == ":2")
    #expect(try client.ask("TYPE", "k1") == "+string" && client.ask("TYPE", "none") == "+none")
    #expect(try client.ask("SCAN", "0", "COUNT", "100") == "[0 [k1 k2 k3 k4]]")
    #expect(try client.ask("SCAN", "0", "MATCH", "*[34]", "COUNT", "100") == "[0 [k3 k4]]")
    #expect(try client.ask("DBSIZE") == ":4")
    #expect(try client.ask("FLUSHDB") == "+OK" && client.ask("DBSIZE") == ":0")
    #expect(try client.ask("SCAN", "0") == "[0 []]" && client.get("k1") == nil)
    withExtendedLifetime(server) {}
  }

  @Test("stays in step when a value is refused")
  func refusedValues() throws {
    let server = try server(["resp_value_bytes_max": ["1000B"]])
    let client = try RESPClient(server)
    #expect(try client.set("big", bytes(100_000, seed: 1)).hasPrefix("-ERR the value is larger"))
    #expect(try client.set("none", []).hasPrefix("-ERR an empty value"))
    #expect(try client.set("fits", bytes(1000, seed: 1)) == "+OK")
    #expect(try client.set("options", [1], "NONSENSE") == "-ERR syntax error")
    #expect(try client.ask("EXISTS", "big", "none", "options", "fits") == ":1")
    withExtendedLifetime(server) {}
  }

  @Test("is told of a broken stream and shown out")
  func brokenStream() throws {
    let server = try server()
    let client = try RESPClient(server)
    try client.send(RESPClient.command("PING") + Array("*1\r\n+nonsense\r\n".utf8))
    #expect(try client.reply() == "+PONG")
    #expect(try client.reply().hasPrefix("-ERR Protocol error"))
    #expect(client.isAtEnd())
    withExtendedLifetime(server) {}
  }

  // MARK: Clients that do not parse

  @Test("that reads blindly gets a miss as long as the head that it awaits")
  func paddedMiss() throws {
    let server = try server()
    let client = try RESPClient(server)
    for count in [1, 9, 10, 99, 100, 1024, 70_000] {
      #expect(try client.set(Self.lmcache, bytes(count, seed: 1)) == "+OK")
      try client.send(RESPClient.command("GET", Self.other))
      let head = Array("$\(count)\r\n".utf8)
      let miss = try client.take(head.count)
      #expect(miss != head && miss.suffix(2).elementsEqual([13, 10]))
      #expect(try client.get(Self.lmcache) == bytes(count, seed: 1))
    }
    // Another connection of the same engine, which has stored nothing.
    let second = try RESPClient(server)
    try second.send(
      RESPClient.command("GET", Self.other) + RESPClient.command("EXISTS", Self.other))
    _ = try second.take("$70000\r\n".utf8.count)
    #expect(try second.take(4) == Array(":0\r\n".utf8))
    withExtendedLifetime(server) {}
  }

  @Test("that reads blindly never gets a value of another length than it stores")
  func otherLengths() throws {
    let server = try server()
    let first = try RESPClient(server)
    _ = try first.set(Self.other, bytes(2048, seed: 1))
    let client = try RESPClient(server)
    _ = try client.set(Self.lmcache, bytes(100, seed: 1))
    #expect(try client.ask("EXISTS", Self.other) == ":0")
    try client.send(RESPClient.command("GET", Self.other))
    #expect(try client.take("$100\r\n".utf8.count).first == UInt8(ascii: "-"))
    #expect(try client.get(Self.lmcache) == bytes(100, seed: 1))
    #expect(try first.get(Self.other)?.count == 2048)
    withExtendedLifetime(server) {}
  }

  @Test("that reads blindly gets errors of the length of what it awaits")
  func paddedErrors() throws {
    let server = try server(["resp_value_bytes_max": ["1000B"]])
    let client = try RESPClient(server)
    try client.send(
      RESPClient.command([Array("SET".utf8), Array(Self.lmcache.utf8), bytes(5000, seed: 1)]))
    let error = try client.take(5)
    #expect(error.first == UInt8(ascii: "-") && error.suffix(2).elementsEqual([13, 10]))
    #expect(try client.ask("DEL", Self.lmcache) == ":0")
    withExtendedLifetime(server) {}
  }

  @Test(
    "gets Redis's own miss if it shows itself to be another, or padding is off",
    arguments: [
      ("auto", ["HELLO", "2"], lmcache, true), ("auto", ["PING"], lmcache, true),
      ("auto", [], "key:000000000001", true), ("off", [], lmcache, true),
      ("on", [], "key:000000000001", false), ("on", ["CLIENT", "ID"], lmcache, true),
    ])
  func ordinaryMiss(padding: String, words: [String], key: String, isNull: Bool) throws {
    let server = try server(["resp_padded_misses": [padding]])
    let client = try RESPClient(server)
    if !words.isEmpty {
      try client.send(RESPClient.command(words.map { Array($0.utf8) }))
      _ = try client.reply()
    }
    #expect(try client.set("m@00000000@0@ef", bytes(5000, seed: 1)) == "+OK")
    try client.send(RESPClient.command("GET", key))
    #expect(try client.reply() == (isNull ? "null" : "-MISS"))
    withExtendedLifetime(server) {}
  }

  @Test("finds on another connection what EXISTS found on this one, whatever is stored meanwhile")
  func leases() throws {
    let server = try server(["ram": ["32MiB"], "slab": ["1MiB"], "resp_lease_share": ["50"]])
    let client = try RESPClient(server)
    let value = bytes(500_000, seed: 9)
    #expect(try client.set("wanted", value) == "+OK")
    #expect(try client.ask("EXISTS", "wanted") == ":1")
    let other = try RESPClient(server)
    for number in 0..<100 { _ = try other.set("k\(number)", bytes(500_000, seed: UInt8(number))) }
    #expect(try other.ask("EXISTS", "k0") == ":0")
    #expect(try other.get("wanted") == value)
    withExtendedLifetime(server) {}
  }

  // MARK: Counting

  @Test("is counted under a link of its own, and by operation")
  func counters() throws {
    let server = try server()
    let client = try RESPClient(server)
    _ = try client.ask("SET", "a", "1")
    _ = try client.ask("GET", "a")
    _ = try client.ask("GET", "b")
    let info = try client.ask("INFO", "stats")
    #expect(info.contains("keyspace_hits:1\r\n") && info.contains("keyspace_misses:1\r\n"))
    let report = server.control.report()
    let link = try #require(report.links.first { $0.kind == "resp" })
    #expect(link.open == 1 && link.acceptedTotal == 1 && link.receivedBytesTotal > 0)
    #expect(report.operations.first { $0.name == "GET" }?.requestsTotal == 2)
    #expect(report.operations.first { $0.name == "PUT_COMMIT" }?.requestsTotal == 1)
    let names = report.links.map(\.kind)
    #expect(names == ["tcp", "resp"])
    withExtendedLifetime(server) {}
  }

  // MARK: Ending

  @Test("gets its replies before the server ends")
  func drains() async throws {
    let server = try server()
    let client = try RESPClient(server)
    #expect(try client.ask("PING") == "+PONG")
    let isEmpty = await withCheckedContinuation { done in
      server.drain { done.resume(returning: $0) }
    }
    #expect(isEmpty && client.isAtEnd())
  }

  @Test("beyond the cap is told so")
  func tooMany() throws {
    let server = try server(["max_connections": ["1"]])
    let first = try RESPClient(server)
    #expect(try first.ask("PING") == "+PONG")
    let second = try RESPClient(server)
    #expect(try second.reply() == "-ERR max number of clients reached" && second.isAtEnd())
    #expect(try first.ask("QUIT") == "+OK" && first.isAtEnd())
    withExtendedLifetime(server) {}
  }
}
