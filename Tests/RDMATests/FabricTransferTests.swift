import Foundation
import KDNCore
import Testing

@testable import KDNTransport

/// What a client of these tests asks for, in bytes on the stream.
struct FabricOrder {
  static let byteCount = 32
  enum Kind: UInt64 { case write, read }
  var kind: Kind
  var address: UInt64
  var key: UInt32
  var byteCount: Int

  var encoded: [UInt8] {
    var writer = ByteWriter()
    writer.put(kind.rawValue, address, UInt64(key), UInt64(byteCount))
    return writer.bytes
  }

  init(_ kind: Kind, _ piece: RDMAPiece) {
    self.kind = kind
    address = piece.address
    key = piece.region.remoteKey
    byteCount = piece.byteCount
  }

  init(_ bytes: [UInt8]) throws {
    var reader = ByteReader(bytes)
    kind = try reader.take("kind", as: UInt64.self) == 0 ? .write : .read
    address = try reader.take("address")
    key = UInt32(try reader.take("key", as: UInt64.self))
    byteCount = Int(try reader.take("byteCount", as: UInt64.self))
  }
}

/// Something that memory belongs to; tells when it goes.
final class FabricOwner: Sendable {
  static let alive = Guarded(0)
  init() { Self.alive.withLock { $0 += 1 } }
  deinit { Self.alive.withLock { $0 -= 1 } }
  static var count: Int { alive.withLock { $0 } }
}

extension FabricServer {
  /// Serves orders from one memory: writes it to clients, reads theirs into it, and answers each
  /// order with one byte, after a write at once and after a read when it is over.
  static func carryingOrders(
    memoryBytes: Int, pieces: Int = 1
  ) async throws -> FabricServer {
    try await FabricServer {
      var memory: FabricMemory?
      var input: [UInt8] = []
      var token: UInt64 = 0
      var reads: Set<UInt64> = []
      return { endpoint, _ in
        let (bytes, hasEnded) = endpoint.takeAvailable()
        input += bytes
        do {
          let own = try memory ?? FabricMemory(memoryBytes, [], in: endpoint.context)
          if memory == nil { own.number(seed: 1) }
          memory = own
          while input.count >= FabricOrder.byteCount {
            let order = try FabricOrder(Array(input.prefix(FabricOrder.byteCount)))
            input.removeFirst(FabricOrder.byteCount)
            token += 1
            let owner = FabricOwner()
            switch order.kind {
            case .write:
              let step = max(1, order.byteCount / pieces)
              let cut = try stride(from: 0, to: order.byteCount, by: step).map {
                try own.piece($0..<min(order.byteCount, $0 + step))
              }
              #expect(
                endpoint.write(
                  cut, toAddress: order.address, key: order.key, token: token, keeping: owner))
              endpoint.send([1])
            case .read:
              reads.insert(token)
              #expect(
                endpoint.read(
                  into: try own.piece(0..<order.byteCount), fromAddress: order.address,
                  key: order.key, token: token, keeping: owner))
            }
          }
          for completion in endpoint.takeCompletions() where reads.contains(completion.token) {
            endpoint.send([2])
          }
        } catch {
          Issue.record(error)
          return false
        }
        return !hasEnded
      }
    }
  }
}

extension OverFabric {
  @Suite("A transfer over the fabric")
  struct FabricTransferTests {
    private static let mebibyte = 1 << 20

    private func same(_ left: FabricMemory, _ right: FabricMemory, _ count: Int) -> Bool {
      guard let left = left.bytes.baseAddress, let right = right.bytes.baseAddress else {
        return false
      }
      return memcmp(left, right, count) == 0
    }

    @Test(
      "writes all bytes before what is sent behind it, split and gathered as the device needs",
      arguments: [
        (1, 1), (4096, 3), (100_000, 7), (1 << 20, 300), ((8 << 20) + 1, 1), ((17 << 20) + 5, 2),
      ])
    func writesBeforeWhatIsSent(count: Int, pieces: Int) async throws {
      let server = try await FabricServer.carryingOrders(memoryBytes: 20 << 20, pieces: pieces)
      let endpoint = try server.dial()
      let memory = try FabricMemory(20 << 20, .remoteWrite, in: endpoint.context)
      let wanted = try FabricMemory(20 << 20, [], in: endpoint.context)
      wanted.number(seed: 1)
      endpoint.send(FabricOrder(.write, try memory.piece(0..<count)).encoded)
      #expect(try endpoint.receive(exactly: 1) == [1])
      #expect(same(memory, wanted, count))
      #expect(memory.bytes[count...].prefix(4096).allSatisfy { $0 == 0xEE }, "nothing behind it")
      endpoint.close()
      server.waitForEnds(1)
      #expect(FabricOwner.count == 0)
      await server.stop()
    }

    @Test(
      "reads all bytes before it is over, and they come back by writing",
      arguments: [1, 4097, 1 << 20, (9 << 20) + 3])
    func readsAllBytes(count: Int) async throws {
      let server = try await FabricServer.carryingOrders(memoryBytes: 10 << 20)
      let endpoint = try server.dial()
      let source = try FabricMemory(10 << 20, .remoteRead, in: endpoint.context)
      source.number(seed: 99)
      let target = try FabricMemory(10 << 20, .remoteWrite, in: endpoint.context)
      endpoint.send(FabricOrder(.read, try source.piece(0..<count)).encoded)
      #expect(try endpoint.receive(exactly: 1) == [2])
      endpoint.send(FabricOrder(.write, try target.piece(0..<count)).encoded)
      #expect(try endpoint.receive(exactly: 1) == [1])
      #expect(same(source, target, count))
      endpoint.close()
      server.waitForEnds(1)
      #expect(FabricOwner.count == 0)
      await server.stop()
    }

    @Test("waits for room where more are asked for than the queue holds")
    func waitsForRoom() async throws {
      let server = try await FabricServer.carryingOrders(memoryBytes: Self.mebibyte)
      let endpoint = try server.dial()
      let memory = try FabricMemory(
        Self.mebibyte, [.remoteWrite, .remoteRead], in: endpoint.context)
      let order = FabricOrder(.write, try memory.piece(0..<5000)).encoded
      let back = FabricOrder(.read, try memory.piece(5000..<9000)).encoded
      let orders = (0..<400).map { $0 % 3 == 2 ? back : order }
      endpoint.send(orders.flatMap { $0 })
      let answers = try endpoint.receive(exactly: 400)
      #expect(answers.filter { $0 == 1 }.count == 267)
      #expect(answers.filter { $0 == 2 }.count == 133)
      endpoint.close()
      server.waitForEnds(1)
      #expect(FabricOwner.count == 0)
      await server.stop()
    }

    @Test("of nothing ends in its turn, and one that would wrap is not begun")
    func ofNothingEnds() async throws {
      let server = try await FabricServer.carryingOrders(memoryBytes: Self.mebibyte)
      let endpoint = try server.dial()
      let memory = try FabricMemory(4096, .remoteRead, in: endpoint.context)
      let empty = try memory.piece(0..<0)
      #expect(endpoint.write([], toAddress: 0, key: 0, token: 1, keeping: nil))
      #expect(endpoint.write([empty], toAddress: .max, key: 0, token: 2, keeping: nil))
      let whole = try memory.piece()
      #expect(!endpoint.write([whole], toAddress: .max - 4095, key: 0, token: 3, keeping: nil))
      #expect(!endpoint.read(into: whole, fromAddress: .max, key: 0, token: 4, keeping: nil))
      #expect(endpoint.takeCompletions().map(\.token) == [1, 2])
      #expect(endpoint.queuedTransfers == 0)
      endpoint.close()
      server.waitForEnds(1)
      await server.stop()
    }
  }
}
