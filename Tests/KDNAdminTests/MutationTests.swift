import Testing

@testable import KDNAdmin

/// Requests with random damage; the endpoint must answer or hang up, and stay well.
@Suite struct MutationTests: AdminTesting {
  private struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state ^ (state >> 31)
    }
  }

  private static let seeds = [
    "GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /objects?namespace=alpha&limit=5&cursor=%20x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HEAD /metrics HTTP/1.0\r\nHost: 127.0.0.1:1\r\nConnection: keep-alive\r\n\r\n",
    """
    POST /purge HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right-token\r\n\
    Content-Type: application/json\r\nContent-Length: 30\r\n\r\n{"namespace":"a","all":true }
    """,
    """
    POST /loglevel HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right-token\r\n\
    Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
    9\r\n{"level":\r\n7\r\n"info"}\r\n0\r\n\r\n
    """,
    """
    PUT /namespaces/a/limits HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right-token\r\n\
    Content-Type: application/json\r\nContent-Length: 19\r\n\r\n{"ram_bytes_max":1}
    """,
  ]

  private func damaged(_ seed: [UInt8], _ random: inout Generator) -> [UInt8] {
    var bytes = seed
    for _ in 0..<Int.random(in: 0...6, using: &random) where !bytes.isEmpty {
      let place = Int.random(in: 0..<bytes.count, using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
      case 1: bytes.remove(at: place)
      case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
      case 3: bytes.removeSubrange(place..<min(bytes.count, place + 9))
      default: bytes.insert(contentsOf: bytes[..<min(place, 40)], at: place)
      }
    }
    return bytes
  }

  @Test(arguments: [1, 2, 3] as [UInt64])
  func theEndpointStaysWellWhateverComes(seed: UInt64) async throws {
    let control = ScriptedControl()
    try await serve(control, requestMilliseconds: 1000) { endpoint in
      var random = Generator(state: seed)
      var answers = 0
      for _ in 0..<1000 {
        let peer = try endpoint.connect()
        for _ in 0..<Int.random(in: 1...3, using: &random) {
          let text = Self.seeds.randomElement(using: &random) ?? ""
          guard peer.send(damaged(Array(text.utf8), &random)) else { break }
        }
        peer.finish()
        let text = peer.readToEnd()
        if text.isEmpty { continue }
        answers += 1
        #expect(text.hasPrefix("HTTP/1."), "\(text.prefix(80))")
      }
      #expect(answers > 500)
      #expect(try endpoint.ask("GET", "/healthz").status == 200)
    }
  }
}
