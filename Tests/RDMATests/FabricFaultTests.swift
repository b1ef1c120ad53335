import Foundation
import KDNCore
import Testing

@testable import KDNTransport

extension OverFabric {
  @Suite("A fault on the fabric")
  struct FabricFaultTests {
    /// How an order can be wrong.
    enum Wrong: CaseIterable, Sendable { case key, address, revoked, length, access }

    /// A failed work request shows as such, or, over iWARP, as a connection that is gone.
    private static func isBroken(_ fault: RDMAFault?, over context: RDMAContext) -> Bool {
      if case .broken? = fault { true } else { context.isIWARP && fault == .disconnected }
    }

    private static func isViolation(_ fault: RDMAFault?) -> Bool {
      if case .violation? = fault { true } else { false }
    }

    @Test(
      "by a key, an address or a length that is not granted ends this connection only",
      arguments: Wrong.allCases, [FabricOrder.Kind.write, .read])
    func endsThisConnectionOnly(wrong: Wrong, kind: FabricOrder.Kind) async throws {
      let server = try await FabricServer.carryingOrders(memoryBytes: 1 << 20)
      let endpoint = try server.dial()
      let other = try server.dial()
      // The kernel's iWARP lets a peer read what its owner only lets it write.
      let isUnguarded = endpoint.context.isIWARP && wrong == .access && kind == .read
      let access: RDMAAccess =
        (kind == .write) == (wrong != .access) ? .remoteWrite : .remoteRead
      let memory = try FabricMemory(65536, access, in: endpoint.context)
      var order = FabricOrder(kind, try memory.piece())
      switch wrong {
      case .key: order.key ^= 0x5500
      case .address: order.address &+= 1 << 40
      case .revoked: memory.revoke()
      case .length: order.byteCount += 1
      case .access: break
      }
      endpoint.send(order.encoded)
      if isUnguarded { endpoint.close() }
      server.waitForEnds(1)
      let fault = try #require(server.faults.first)
      #expect(Self.isBroken(fault, over: endpoint.context), "\(String(describing: fault))")
      _ = try endpoint.waitForEnd()
      endpoint.close()
      #expect(FabricOwner.count == 0, "what the transfer kept is dropped with the connection")
      let room = try FabricMemory(4096, .remoteWrite, in: other.context)
      other.send(FabricOrder(.write, try room.piece()).encoded)
      #expect(try other.receive(exactly: 1) == [1])
      #expect(room.bytes[0] != 0xEE || room.bytes[1] != 0xEE)
      other.close()
      server.waitForEnds(2)
      await server.stop()
    }

    @Test("of another connection's domain: its keys say nothing here")
    func keysOfAnotherDomainSayNothing() async throws {
      let server = try await FabricServer.carryingOrders(memoryBytes: 1 << 20)
      let first = try server.dial()
      let second = try server.dial()
      let memory = try FabricMemory(65536, .remoteWrite, in: first.context)
      second.send(FabricOrder(.write, try memory.piece()).encoded)
      server.waitForEnds(1)
      let fault = try #require(server.faults.first)
      #expect(Self.isBroken(fault, over: first.context))
      #expect(memory.bytes.allSatisfy { $0 == 0xEE })
      let third = try server.dial(sharing: first.context)
      third.send(FabricOrder(.write, try memory.piece()).encoded)
      #expect(try third.receive(exactly: 1) == [1])
      for endpoint in [first, second, third] { endpoint.close() }
      server.waitForEnds(3)
      await server.stop()
    }

    // MARK: Rules of the stream

    /// Messages that break a rule: as many as there are, each with a prefix and so many bytes.
    enum Cheat: CaseIterable, Sendable {
      case moreThanGranted, creditsNeverTaken, lyingLength, empty, noPrefix

      var messages: [(prefix: RDMAMessagePrefix, bytes: Int)] {
        switch self {
        case .moreThanGranted:
          Array(repeating: (RDMAMessagePrefix(creditsReturned: 0, streamBytes: 10), 18), count: 5)
        case .creditsNeverTaken: [(RDMAMessagePrefix(creditsReturned: 1, streamBytes: 0), 8)]
        case .lyingLength: [(RDMAMessagePrefix(creditsReturned: 0, streamBytes: 500), 18)]
        case .empty: [(RDMAMessagePrefix(creditsReturned: 0, streamBytes: 0), 8)]
        case .noPrefix: [(RDMAMessagePrefix(creditsReturned: 1, streamBytes: 0), 5)]
        }
      }
    }

    @Test("of a client that breaks the rules of the stream cuts it off", arguments: Cheat.allCases)
    func cutsOffCheaters(cheat: Cheat) async throws {
      var settings = RDMASettings()
      settings.receives = 4
      // It never reads, so that no credit is ever returned.
      let server = try await FabricServer(settings: settings, isGreedy: false) {
        { _, _ in true }
      }
      let cheater = try server.dial()
      let slots = try RDMAMessageSlots(count: 8, slotBytes: 4096, in: cheater.context)
      for (index, message) in cheat.messages.enumerated() {
        slots[index].storeBytes(of: message.prefix.encoded, as: UInt64.self)
        let entry = slots.entry(index, byteCount: message.bytes)
        #expect(cheater.pair.send(entry, number: UInt64(index)) == 0)
      }
      server.waitForEnds(1)
      let fault = try #require(server.faults.first)
      #expect(Self.isViolation(fault), "\(String(describing: fault))")
      _ = try cheater.waitForEnd()
      cheater.close()
      await server.stop()
    }

    @Test("of a flood beyond all credit harms nobody else on the same shared receives")
    func floodHarmsNobodyElse() async throws {
      var settings = RDMASettings()
      settings.receives = 4
      settings.sharedReceives = 16
      let server = try await FabricServer(settings: settings) {
        { endpoint, _ in
          let (bytes, hasEnded) = endpoint.takeAvailable()
          endpoint.send(bytes)
          return !hasEnded
        }
      }
      let honest = try server.dial()
      for round in 0..<20 {
        let flooder = try server.dial()
        let slots = try RDMAMessageSlots(count: 60, slotBytes: 4096, in: flooder.context)
        let prefix = RDMAMessagePrefix(creditsReturned: 0, streamBytes: 4088)
        for slot in 0..<60 {
          slots[slot].storeBytes(of: prefix.encoded, as: UInt64.self)
          _ = flooder.pair.send(slots.entry(slot, byteCount: 4096), number: UInt64(slot))
        }
        let bytes = [UInt8](repeating: UInt8(round), count: 30_000)
        honest.send(bytes)
        #expect(try honest.receive(exactly: bytes.count) == bytes)
        flooder.close()
      }
      honest.close()
      server.waitForEnds(21)
      await server.stop()
    }

    // MARK: Connecting

    @Test(
      "of an introduction that is not ours is a refusal",
      arguments: [
        [], Array("kv/1".utf8), [UInt8](repeating: 0xFF, count: 56),
        Array(RDMAGreeting(receives: 3, messageBytes: 256).encoded.dropFirst()),
      ])
    func refusesStrangers(greeting: [UInt8]) async throws {
      let server = try await FabricServer { { _, _ in true } }
      #expect(throws: RDMAFault.self) {
        try RDMADialler.connect(
          to: server.endpoint(), saying: greeting, deadline: Fabric.deadline,
          settings: RDMASettings())
      }
      server.waitForTrouble()
      guard case .handshake = server.troubles.first else {
        Issue.record("\(server.troubles)")
        return
      }
      #expect(server.accepted == 0)
      let welcome = try server.dial()
      welcome.close()
      server.waitForEnds(1)
      await server.stop()
    }

    @Test("of dialling nobody, or through loopback, is told")
    func dialsNobody() throws {
      let nobody = Endpoint.tcp(host: Fabric.address, port: 1)
      let loopback = Endpoint.tcp(host: "127.0.0.1", port: 1)
      #expect(RDMADialler.hasRoute(to: nobody, deadline: Fabric.deadline) == nil)
      #expect(RDMADialler.hasRoute(to: loopback, deadline: Fabric.deadline) != nil)
      for endpoint in [nobody, loopback] {
        #expect(throws: RDMAFault.self) {
          try RDMADialler.connect(to: endpoint, deadline: Fabric.deadline)
        }
      }
    }

    @Test("of waiting ends at the deadline, and the connection lives on")
    func waitsNoLonger() async throws {
      let server = try await FabricServer.carryingOrders(memoryBytes: 4096)
      let endpoint = try server.dial()
      #expect(throws: RDMAFault.deadline) {
        while true { try endpoint.wait(until: SystemClock().now().advanced(milliseconds: 20)) }
      }
      let room = try FabricMemory(4096, .remoteWrite, in: endpoint.context)
      endpoint.send(FabricOrder(.write, try room.piece()).encoded)
      #expect(try endpoint.receive(exactly: 1) == [1])
      endpoint.close()
      server.waitForEnds(1)
      await server.stop()
    }

    // MARK: The other side dies

    @Test("of a client that is killed in the middle ends its connection")
    func endsKilledClients() async throws {
      let server = try await FabricServer.carryingOrders(memoryBytes: 8 << 20)
      guard case .tcp(_, let port) = try server.endpoint() else { return }
      setenv("KDN_TEST_FABRIC_PORT", "\(port)", 1)
      await #expect(processExitsWith: .signal(SIGKILL)) {
        let port = UInt16(ProcessInfo.processInfo.environment["KDN_TEST_FABRIC_PORT"] ?? "") ?? 0
        let endpoint = try RDMADialler.connect(
          to: .tcp(host: Fabric.address, port: port), deadline: Fabric.deadline)
        let memory = try FabricMemory(
          8 << 20, [.remoteWrite, .remoteRead], in: endpoint.context)
        let write = FabricOrder(.write, try memory.piece()).encoded
        let read = FabricOrder(.read, try memory.piece()).encoded
        endpoint.send((write + read) + (write + read) + (write + read))
        _ = try endpoint.receive(exactly: 1)
        kill(getpid(), SIGKILL)
      }
      server.waitForEnds(1)
      #expect(server.faults.count == 1)
      #expect(FabricOwner.count == 0)
      let endpoint = try server.dial()
      let room = try FabricMemory(4096, .remoteWrite, in: endpoint.context)
      endpoint.send(FabricOrder(.write, try room.piece()).encoded)
      #expect(try endpoint.receive(exactly: 1) == [1])
      endpoint.close()
      server.waitForEnds(2)
      await server.stop()
    }

    @Test("of any kind, and a good end too, leaves nothing behind after 100 connections")
    func leavesNothingBehind() async throws {
      let server = try await FabricServer.carryingOrders(memoryBytes: 65536)
      func cycle(_ number: Int) throws {
        let endpoint = try server.dial()
        let room = try FabricMemory(4096, .remoteWrite, in: endpoint.context)
        var order = FabricOrder(.write, try room.piece())
        if number % 4 == 3 { order.key ^= 0x5500 }
        endpoint.send(order.encoded)
        if number % 4 < 2 { #expect(try endpoint.receive(exactly: 1) == [1]) }
        endpoint.close()
      }
      try cycle(0)
      server.waitForEnds(1)
      let before = try FabricHoldings()
      #expect(before["pd"] > 0, "the server's domain is there to be counted")
      for number in 0..<100 { try cycle(number) }
      server.waitForEnds(101)
      #expect(try FabricHoldings().addNothing(to: before))
      let endpoint = try server.dial()
      #expect(try FabricHoldings()["qp"] == before["qp"] + 2)
      endpoint.close()
      server.waitForEnds(102)
      await server.stop()
    }
  }
}
