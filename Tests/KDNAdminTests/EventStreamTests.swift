import KDNControl
import Testing

@testable import KDNAdmin

/// How often something is asked for that comes soon.
private let attemptsMax = 20_000

@Suite struct EventStreamTests: AdminTesting {
  private func event(_ serial: UInt64) -> DaemonEvent {
    DaemonEvent(
      serial: serial, unixMilliseconds: 1, kind: "reloaded", administrator: "root",
      text: "line\nbreak \(serial)")
  }

  private func request(_ path: String, _ fields: String = "") -> String {
    "GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(fields)\r\n"
  }

  @Test func eventsComeWithSerialKindAndOneLineOfData() async throws {
    try await serve(ScriptedControl { $0.events = [self.event(1)] }) { endpoint in
      let peer = try endpoint.connect()
      peer.send(request("/events"))
      let head = try peer.read(until: "\r\n\r\n")
      #expect(head.contains("text/event-stream") && head.contains("chunked"))
      let first = try peer.read(until: "}\n\n")
      #expect(first.contains("id: 1\nevent: reloaded\ndata: {\"administrator\":\"root\","))
      #expect(first.contains(#""text":"line\nbreak 1""#))
      endpoint.control.set { $0.events.append(event(2)) }
      #expect(try peer.read(until: "}\n\n").contains("id: 2\n"))
    }
  }

  @Test(arguments: [
    ("/events?after=2", ""), ("/events", "Last-Event-ID: 2\r\n"),
    ("/events?after=2", "Last-Event-ID: 1\r\n"),
  ])
  func aStreamGoesOnBehindTheLastEventSeen(path: String, fields: String) async throws {
    try await serve(ScriptedControl { $0.events = (1...4).map(self.event) }) { endpoint in
      let peer = try endpoint.connect()
      peer.send(request(path, fields))
      let text = try peer.read(until: "id: 4\n")
      #expect(text.contains("id: 3\n") && !text.contains("id: 2\n"))
    }
  }

  @Test func aSerialOfAnEarlierRunOfTheDaemonBeginsAtTheFront() async throws {
    try await serve(ScriptedControl { $0.events = [self.event(1)] }) { endpoint in
      let peer = try endpoint.connect()
      peer.send(request("/events?after=99"))
      #expect(try peer.read(until: "id: 1\n").contains(": kdn"))
    }
  }

  @Test func thereAreSoManyStreamsAndPlacesAreGivenBack() async throws {
    try await serve { endpoint in
      var peers: [RawPeer] = []
      for _ in 0..<StreamSlots.countMax {
        let peer = try endpoint.connect()
        peer.send(request("/events"))
        _ = try peer.read(until: ": kdn")
        peers.append(peer)
      }
      let late = try endpoint.ask("GET", "/events")
      #expect(late.status == 503)
      #expect(late.fields["retry-after"] == "1")
      peers[0].finish()
      #expect(peers[0].readToEnd().hasSuffix("\n\n\r\n"))
      var status = 503
      for _ in 0..<attemptsMax where status == 503 {
        status = try endpoint.ask("HEAD", "/events").status
      }
      #expect(status == 200)
    }
  }

  @Test func aSubscriberThatReadsNothingIsCutOff() async throws {
    let text = String(repeating: "x", count: 50_000)
    let events = (1...2000).map { serial in
      DaemonEvent(
        serial: UInt64(serial), unixMilliseconds: 1, kind: "k", administrator: "", text: text)
    }
    let control = ScriptedControl { $0.events = events }
    try await serve(control, requestMilliseconds: 100) { endpoint in
      let peer = try endpoint.connect()
      peer.send(request("/events"))
      _ = try peer.read(until: "id: 1\n")
      // Its place is given back once it is cut off, although it never hung up.
      var others: [RawPeer] = []
      for _ in 0..<attemptsMax where others.count < StreamSlots.countMax {
        let other = try endpoint.connect()
        other.send(request("/events?after=2000"))
        if try other.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200") { others.append(other) }
      }
      #expect(others.count == StreamSlots.countMax)
    }
  }

  @Test func aStopEndsStreamsAndIdleConnections() async throws {
    try await serve { endpoint in
      let stream = try endpoint.connect()
      stream.send(request("/events"))
      _ = try stream.read(until: ": kdn")
      let idle = try endpoint.connect()
      idle.send(request("/healthz"))
      _ = try idle.answer()
      await endpoint.server.stop()
      _ = stream.readToEnd()
      #expect(idle.readToEnd().isEmpty)
      #expect(throws: RawPeer.Failure.self) { try endpoint.connect() }
    }
  }
}
