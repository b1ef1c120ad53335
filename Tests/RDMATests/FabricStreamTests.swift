import Foundation
import KDNCore
import Testing

@testable import KDNTransport

extension OverFabric {
  @Suite("A stream over the fabric")
  struct FabricStreamTests {
    private struct SeededRandom: RandomNumberGenerator {
      var state: UInt64
      mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 29
      }
    }

    /// Sends back all that comes, in portions.
    private static func echo() -> FabricServer.Serve {
      { endpoint, _ in
        let (bytes, hasEnded) = endpoint.takeAvailable()
        endpoint.send(bytes)
        return !hasEnded
      }
    }

    private func settings(_ receives: Int, _ messageBytes: Int = 4096) -> RDMASettings {
      var settings = RDMASettings()
      settings.receives = receives
      settings.messageBytes = messageBytes
      return settings
    }

    @Test(
      "brings bytes of any sizes both ways, with as many or as few receives as there may be",
      arguments: [(32, 32, 4096), (3, 3, 4096), (3, 32, 256), (32, 3, 4096), (4, 3, 256)])
    func bringsBytesBothWays(server: Int, client: Int, messageBytes: Int) async throws {
      let listener = try await FabricServer(
        settings: settings(server, messageBytes), makeServe: Self.echo)
      let endpoint = try listener.dial(settings: settings(client))
      var random = SeededRandom(state: UInt64(server * 1000 + client))
      var total = 0
      for round in 0..<60 {
        let count = Int.random(in: 1...(round % 5 == 0 ? 40_000 : 600), using: &random)
        let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
        let cut = Int.random(in: 0...count, using: &random)
        endpoint.send(Array(bytes[..<cut]))
        endpoint.send(Array(bytes[cut...]))
        #expect(try endpoint.receive(exactly: count) == bytes)
        total += count
      }
      #expect(endpoint.sentBytes == UInt64(total))
      #expect(endpoint.receivedBytes == UInt64(total))
      endpoint.close()
      listener.waitForEnds(1)
      #expect(listener.faults == [.disconnected])
      await listener.stop()
    }

    @Test("holds what is sent beyond the other side's credit, and goes on when it is read")
    func holdsWhatIsBeyondCredit() async throws {
      let content = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 9) }
      let listener = try await FabricServer(settings: settings(8)) {
        var hasSent = false
        return { endpoint, _ in
          if !hasSent { endpoint.send(content) }
          hasSent = true
          return !endpoint.takeAvailable().hasEnded
        }
      }
      let endpoint = try listener.dial(settings: settings(5))
      // Nothing is read: four messages come (one credit is kept), and no more.
      while endpoint.receivedBytes < 4 * 4088 { endpoint.sleepUntilCompletion() }
      for _ in 0..<20 { _ = endpoint.poll() }
      #expect(endpoint.receivedBytes == 4 * 4088)
      #expect(try endpoint.receive(exactly: content.count) == content)
      endpoint.close()
      listener.waitForEnds(1)
      await listener.stop()
    }

    @Test("is read to its end when the other side has finished")
    func isReadToItsEnd() async throws {
      let content = [UInt8](repeating: 7, count: 20_000)
      let listener = try await FabricServer {
        var hasSent = false
        return { endpoint, _ in
          if !hasSent {
            endpoint.send(content)
            endpoint.finishSending()
          }
          hasSent = true
          return !endpoint.takeAvailable().hasEnded
        }
      }
      let endpoint = try listener.dial()
      #expect(try endpoint.receive(exactly: content.count) == content)
      #expect(try endpoint.waitForEnd() == .disconnected)
      endpoint.close()
      listener.waitForEnds(1)
      #expect(listener.faults == [.disconnected])
      await listener.stop()
    }

    @Test("serves four clients at once")
    func servesFourClients() async throws {
      let listener = try await FabricServer(makeServe: Self.echo)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for client in 0..<4 {
          group.addTask {
            let endpoint = try listener.dial()
            for round in 0..<20 {
              let bytes = [UInt8](repeating: UInt8(client * 20 + round), count: 9000 + client)
              endpoint.send(bytes)
              #expect(try endpoint.receive(exactly: bytes.count) == bytes)
            }
            endpoint.close()
          }
        }
        try await group.waitForAll()
      }
      listener.waitForEnds(4)
      #expect(listener.accepted == 4)
      await listener.stop()
    }
  }
}
