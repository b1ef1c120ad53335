import KDNCore
import KDNTransport
import Testing

@testable import KDNServer

@Suite("A client of Redis that logs in")
struct RESPLoginTests: ServerTesting {
  private func server(_ flags: [String: [String]] = [:]) throws -> Server {
    let tenants = ["red", "blue"].map { "\($0):\(TokenHash(of: "\($0) token").hexadecimal)" }
    let own = [
      "resp": ["127.0.0.1:0"], "namespaces": tenants, "development_namespace": ["off"],
    ]
    return try makeServer(own.merging(flags) { _, new in new })
  }

  @Test("may do nothing else before, and is in its own namespace then")
  func own() throws {
    let server = try server()
    let red = try RESPClient(server)
    #expect(try red.ask("GET", "a").hasPrefix("-NOAUTH"))
    #expect(try red.ask("SET", "a", "1").hasPrefix("-NOAUTH"))
    #expect(try red.ask("HELLO", "3").hasPrefix("-NOAUTH"))
    #expect(try red.ask("AUTH", "red", "red token") == "+OK")
    #expect(try red.ask("SET", "a", "red") == "+OK")
    let blue = try RESPClient(server)
    #expect(try blue.ask("HELLO", "3", "AUTH", "default", "blue token").hasPrefix("[server redis"))
    #expect(try blue.ask("GET", "a") == "null" && blue.ask("SET", "a", "blue") == "+OK")
    #expect(try blue.ask("FLUSHDB") == "+OK" && red.ask("GET", "a") == "red")
    let third = try RESPClient(server)
    #expect(try third.ask("AUTH", "red token") == "+OK" && third.ask("GET", "a") == "red")
    #expect(try third.ask("AUTH", "blue", "blue token") == "+OK" && third.ask("DBSIZE") == ":0")
    #expect(try third.ask("RESET") == "+RESET" && third.ask("DBSIZE").hasPrefix("-NOAUTH"))
    withExtendedLifetime(server) {}
  }

  @Test(
    "with what is wrong is told the same, whatever was wrong, and may try again",
    arguments: [
      ["AUTH", "red", "blue token"], ["AUTH", "nobody", "red token"], ["AUTH", "wrong"],
      ["AUTH", "no/such name", "red token"], ["HELLO", "2", "AUTH", "red", "wrong"],
    ])
  func refused(words: [String]) throws {
    let server = try server()
    let client = try RESPClient(server)
    try client.send(RESPClient.command(words.map { Array($0.utf8) }))
    #expect(
      try client.reply() == "-WRONGPASS invalid username-password pair or user is disabled.")
    #expect(try client.ask("AUTH", "red", "red token") == "+OK")
    #expect(server.context.counters.snapshot.unauthorisedTotal == 1)
    withExtendedLifetime(server) {}
  }

  @Test("too late is shown out")
  func late() throws {
    let server = try server(["handshake_timeout_ms": ["1"]])
    let client = try RESPClient(server)
    #expect(client.isAtEnd())
    withExtendedLifetime(server) {}
  }

  @Test("is shown out when its token ends")
  func tokenEnds() throws {
    let server = try server()
    let client = try RESPClient(server)
    #expect(try client.ask("AUTH", "red", "red token") == "+OK")
    server.context.tenants.replace(TenantSnapshot([]))
    server.context.admission.apply()
    #expect(try client.reply().hasPrefix("-NOAUTH") && client.isAtEnd())
    withExtendedLifetime(server) {}
  }

  @Test("has its tenant's limits: connections, requests and bytes")
  func limits() throws {
    let server = try server([
      "namespace_limits": ["red connections=1", "blue requests=3 bytes=1000B"]
    ])
    let first = try RESPClient(server)
    #expect(try first.ask("AUTH", "red", "red token") == "+OK")
    let second = try RESPClient(server)
    #expect(try second.ask("AUTH", "red", "red token") == "-ERR max number of clients reached")
    let blue = try RESPClient(server)
    #expect(try blue.ask("AUTH", "blue", "blue token") == "+OK")
    let answers = try (0..<4).map { _ in try blue.ask("EXISTS", "a") }
    #expect(answers.prefix(3).allSatisfy { $0 == ":0" } && answers[3].hasPrefix("-BUSY"))
    withExtendedLifetime(server) {}
  }

  @Test("need not if the configuration presets a namespace, but then may not flush it")
  func preset() throws {
    let server = try server(["resp_namespace": ["red"]])
    let client = try RESPClient(server)
    #expect(try client.ask("SET", "a", "1") == "+OK")
    #expect(try client.ask("FLUSHDB").hasPrefix("-NOPERM") && client.ask("GET", "a") == "1")
    #expect(try client.ask("AUTH", "red", "red token") == "+OK" && client.ask("FLUSHALL") == "+OK")
    #expect(try client.ask("GET", "a") == "null")
    withExtendedLifetime(server) {}
  }
}
