import Foundation
import Glibc
import KDNCore
import KDNTransport
import KDNWire
import Testing

@testable import KDNClient

@Suite("A connection")
struct ConnectionTests {
  @Test("greets with namespace, token and agent, and keeps what the server grants")
  func greets() throws {
    let server = ScriptedServer()
    var limits = Limits()
    limits.maxFramePayloadBytes = 12_345
    server.say(Frames.hello(limits))
    let request = HelloRequest(
      namespace: try NamespaceName("test"), token: "secret", agent: "tests")
    let connection = try Connection(owning: server.clientEnd, request)
    var reader = ByteReader(try server.hearFrame().body)
    #expect(try HelloRequest(from: &reader) == request)
    #expect(connection.hello.limits.maxFramePayloadBytes == 12_345)
    #expect(connection.hello.server == "scripted")
  }

  @Test("that is refused at HELLO says so")
  func refusedHello() throws {
    let server = ScriptedServer()
    server.say(Frames.error(.hello, id: 1, .unauthorised))
    let request = HelloRequest(namespace: try NamespaceName("test"))
    guard
      case .refused(.unauthorised, _) = failure({
        try Connection(owning: server.clientEnd, request)
      })
    else {
      Issue.record("not refused")
      return
    }
  }

  @Test("makes a request and takes its answer, one after the other")
  func requests() throws {
    let server = ScriptedServer()
    let client = Client(try server.greeted())
    let bits = Bitmap([true, false, true])
    server.say(Frames.answer(.exists(ExistsResponse(present: bits)), id: 2))
    server.say(Frames.error(.touch, id: 3, .notAllowed))
    server.say(Frames.answer(.stats(StatsResponse(json: "{}")), id: 4))
    let keys = try (1...3).map { try opaqueKey($0) }
    #expect(try client.exists(keys) == bits)
    guard case .refused(.notAllowed, _) = failure({ try client.touch(keys) }) else {
      Issue.record("not refused")
      return
    }
    #expect(try client.stats() == "{}")
  }

  @Test("ends when the answer is late, and stays ended")
  func stalls() throws {
    let server = ScriptedServer()
    let connection = try server.greeted(graceMilliseconds: 0)
    let client = Client(connection)
    #expect(failure { try client.ping(deadlineMilliseconds: 20) } == .deadline)
    server.say(Frames.answer(.exists(ExistsResponse(present: Bitmap(count: 0))), id: 2))
    #expect(failure { try client.ping() } == .deadline)
    #expect(!connection.isOpen)
  }

  @Test("ends when the server takes no bytes")
  func stallsSending() throws {
    let server = ScriptedServer()
    let connection = try server.greeted(graceMilliseconds: 0)
    let bytes = [UInt8](repeating: 7, count: 4 << 20)
    let facts = PutBeginRequest(key: try opaqueKey(1), totalBytes: bytes.count)
    let error = failure {
      try bytes.withUnsafeBytes {
        try connection.put(PutItem(facts, pieces: [$0]), deadlineMilliseconds: 30)
      }
    }
    #expect(error == .deadline)
  }

  @Test("ends when what comes is no frame")
  func garbage() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    server.say(pattern(200))
    guard case .protocolFault(.framing(.magic)) = failure({ try Client(connection).ping() }) else {
      Issue.record("garbage was taken for a frame")
      return
    }
    #expect(!connection.isOpen)
  }

  @Test("ends when any byte of an answer's front is damaged", arguments: 0..<72)
  func damaged(position: Int) throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    var frame = Frames.answer(.exists(ExistsResponse(present: Bitmap(count: 0))), id: 2)
    frame[position] ^= 0x40
    server.say(frame)
    server.hangUp()
    guard case .protocolFault = failure({ try Client(connection).ping() }) else {
      Issue.record("byte \(position) was damaged unseen")
      return
    }
  }

  @Test("ends when an answer is to a request that was not made")
  func unknownRequest() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    server.say(Frames.answer(.exists(ExistsResponse(present: Bitmap(count: 0))), id: 9))
    guard
      case .protocolFault(.unknownRequest(requestID: 9, _)) = failure({
        try Client(connection).ping()
      })
    else {
      Issue.record("an answer to nothing was taken")
      return
    }
  }

  @Test("tells why the server went away", arguments: [Status.draining, .deadline, .badRequest])
  func goesAway(status: Status) throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    server.say(Frames.goAway(status))
    server.hangUp()
    #expect(
      failure { try Client(connection).ping() } == .goAway(status, ErrorBody(message: "going")))
    #expect(!connection.isOpen)
  }

  @Test("tells why the server went away even if that shows only when a send fails")
  func goesAwayWhileSending() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    server.say(Frames.goAway(.draining))
    server.breakOff()
    let facts = PutBeginRequest(key: try opaqueKey(1), totalBytes: 100_000)
    let bytes = pattern(100_000)
    let error = failure {
      try bytes.withUnsafeBytes { try connection.put(PutItem(facts, pieces: [$0])) }
    }
    #expect(error == .goAway(.draining, ErrorBody(message: "going")))
  }

  @Test("takes the answer that follows a GOAWAY, but makes no further request")
  func answersWhileDraining() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let client = Client(connection)
    server.say(
      Frames.goAway(.draining)
        + Frames.answer(.exists(ExistsResponse(present: Bitmap(count: 0))), id: 2))
    try client.ping()
    #expect(
      failure { try client.ping() } == .goAway(.draining, ErrorBody(message: "going")))
  }

  @Test(
    "is lost when the server closes inside a frame", arguments: [0, 10, 64, 100, 112, 200, 511])
  func closesInside(length: Int) throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let bytes = pattern(400)
    server.say(Array(Frames.get([Frames.hit(bytes)], payload: bytes)[..<length]))
    server.hangUp()
    let key = try opaqueKey(1)
    guard case .lost = failure({ try Client(connection).get(key, capacity: 400) }) else {
      Issue.record("a payload cut off at \(length) was taken for whole")
      return
    }
    #expect(!connection.isOpen)
  }

  @Test("does not take a body longer than the server accepts to the wire")
  func longBody() throws {
    let server = ScriptedServer()
    var limits = Limits()
    limits.maxBodyBytes = 200
    let connection = try server.greeted(limits: limits)
    let keys = try (1...4).map { try opaqueKey($0) }
    guard case .unsendable(let fault) = failure({ try Client(connection).exists(keys) }) else {
      Issue.record("sent")
      return
    }
    #expect(fault.field == "bodyLength")
    #expect(connection.isOpen)
  }

  @Test("is made over TCP")
  func connects() throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(listener) }
    #expect(listen(listener, 1) == 0)
    var address = sockaddr_in()
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    _ = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getsockname(listener, $0, &size)
      }
    }
    Thread.detachNewThread {
      let server = ScriptedServer(accepted: accept(listener, nil, nil))
      server.say(Frames.hello())
      server.say(Frames.answer(.exists(ExistsResponse(present: Bitmap(count: 0))), id: 2))
      _ = server.hear(Int.max)
    }
    let endpoint = Endpoint.tcp(host: "127.0.0.1", port: UInt16(bigEndian: address.sin_port))
    let connection = try Connection(endpoint, namespace: try NamespaceName("test"))
    try Client(connection).ping()
    connection.close()
    #expect(failure { try Client(connection).ping() } == .lost("closed by this client"))
  }

  @Test("cannot be made where nobody listens")
  func nobodyListens() throws {
    let endpoint = Endpoint.unix(path: "/tmp/kdn-nobody-\(getpid()).sock")
    let namespace = try NamespaceName("test")
    guard
      case .cannotConnect = failure({ try Connection(endpoint, namespace: namespace) })
    else {
      Issue.record("connected to nobody")
      return
    }
  }
}
