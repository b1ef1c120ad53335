import Foundation
import KDNCore
import KDNMemory
import KDNWire
import Testing

@testable import KDNClient

@Suite("A ring over a window")
struct WindowRingTests {
  @Test("lends bytes in order and not again before a request sent behind them is answered")
  func order() {
    var ring = WindowRing(byteCount: 100)
    #expect(ring.take(limit: 60) == 0..<60)
    ring.mark(7)
    #expect(ring.take(limit: 60) == 60..<100)
    #expect(ring.take(limit: 1) == nil)
    ring.answered(8)
    #expect(ring.take(limit: 1) == nil)
    ring.answered(7)
    #expect(ring.take(limit: 100) == 0..<60)
    #expect(ring.take(limit: 1) == nil)
    #expect(ring.unmarkedBytes == 100)
  }

  @Test("is freed by a later answer of what an earlier one would have freed")
  func laterAnswer() {
    var ring = WindowRing(byteCount: 10)
    _ = ring.take(limit: 4)
    ring.mark(1)
    _ = ring.take(limit: 4)
    ring.mark(2)
    ring.answered(2)
    #expect(ring.takenBytes == 0)
    ring.answered(1)
    #expect(ring.takenBytes == 0)
    #expect(ring.take(limit: 10) == 8..<10)
    #expect(ring.take(limit: 10) == 0..<8)
  }

  @Test("never lends a byte that is lent", arguments: 1...20)
  func random(seed: UInt64) {
    var state = seed
    func next(_ below: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      return Int(state >> 33) % below
    }
    var ring = WindowRing(byteCount: 64)
    var lent: [(request: UInt64?, range: Range<Int>)] = []
    var waiting: [UInt64] = []
    for id in UInt64(1)...400 {
      if next(3) > 0, let range = ring.take(limit: 1 + next(40)) {
        #expect(!lent.contains { $0.range.overlaps(range) })
        lent.append((nil, range))
      }
      if next(3) == 0 {
        if lent.contains(where: { $0.request == nil }) { waiting.append(id) }
        ring.mark(id)
        for index in lent.indices where lent[index].request == nil { lent[index].request = id }
      }
      if next(3) == 0, !waiting.isEmpty {
        let answered = waiting.remove(at: next(waiting.count))
        waiting.removeAll { $0 < answered }
        ring.answered(answered)
        lent.removeAll { ($0.request ?? .max) <= answered }
      }
      #expect(ring.takenBytes == lent.reduce(0) { $0 + $1.range.count })
    }
  }
}

/// Takes stores through a window as the daemon does: it copies when a frame's turn comes.
final class WindowServer: Sendable {
  private struct State: Sendable {
    var open: [UInt64: [UInt8]] = [:]
    var stored: [[UInt8]] = []
    var inlineBytes = 0
  }

  private let state = Guarded(State())
  private let memory: PassedMemory
  private let windowBytes: Int

  init(windowBytes: Int) throws {
    memory = try PassedMemory([], byteCount: windowBytes)
    self.windowBytes = windowBytes
  }

  var stored: [[UInt8]] { state.withLock { $0.stored } }
  var inlineBytes: Int { state.withLock { $0.inlineBytes } }

  func answer(_ frame: HeardFrame, grants: Bool = true) -> Said {
    switch frame.request {
    case .openWindow where grants:
      return .answer(
        .openWindow(OpenWindowResponse(byteCount: windowBytes)), frame.id,
        passing: memory.descriptor)
    case .openWindow: return .refusal(.openWindow, frame.id, .busy)
    case .putBegin(let begin):
      state.withLock { $0.open[frame.id] = [UInt8](repeating: 0, count: begin.totalBytes) }
      return .answer(.putBegin(.reserved), frame.id)
    case .putData(let data): return take(data, frame.payload)
    case .putCommit(let commit):
      let bytes = state.withLock { $0.open.removeValue(forKey: commit.transferID) ?? [] }
      state.withLock { $0.stored.append(bytes) }
      let answer = PutCommitResponse(state: .published, checksum: Checksum(of: bytes))
      return .answer(.putCommit(answer), frame.id)
    default: return .answer(.exists(ExistsResponse(present: Bitmap(count: 0))), frame.id)
    }
  }

  private func take(_ data: PutDataRequest, _ payload: [UInt8]) -> Said {
    let bytes: [UInt8]
    switch data.source {
    case .window(let offset, let count): bytes = memory.read(offset..<offset + count)
    case .inline, .remote: bytes = payload
    }
    state.withLock {
      let start = Int(data.offset)
      $0.open[data.transferID]?.replaceSubrange(start..<start + bytes.count, with: bytes)
      $0.inlineBytes += payload.count
    }
    return .nothing
  }
}

@Suite("A PUT through a window")
struct WindowPutTests {
  private func put(_ connection: Connection, _ objects: [[UInt8]]) throws -> [PutResult] {
    let items = try objects.enumerated().map { index, bytes in
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 64)
      memory.copyBytes(from: bytes)
      // Two pieces of odd length, so that they straddle what is copied at once.
      let cut = bytes.count / 3
      let whole = UnsafeRawBufferPointer(memory)
      return PutItem(
        PutBeginRequest(key: try opaqueKey(UInt8(index + 1)), totalBytes: bytes.count),
        pieces: [
          UnsafeRawBufferPointer(rebasing: whole[..<cut]),
          UnsafeRawBufferPointer(rebasing: whole[cut...]),
        ])
    }
    return try connection.put(batch: items)
  }

  @Test(
    "brings objects far longer than the window whole, whatever is still on its way",
    arguments: [4096, 65_536, 1 << 20])
  func longObjects(windowBytes: Int) throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let daemon = try WindowServer(windowBytes: windowBytes)
    server.serve { daemon.answer($0) }
    let objects = [pattern(700_001), pattern(20_000, seed: 2), pattern(300_007, seed: 3)]
    let results = try put(connection, objects)
    #expect(results == objects.map { .stored(.published, Checksum(of: $0)) })
    #expect(daemon.stored == objects)
    #expect(daemon.inlineBytes == 0)
    #expect(connection.isOpen)
    try Client(connection).ping()
  }

  @Test("goes on in the stream where the server refuses a window, and does not ask again")
  func refused() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let daemon = try WindowServer(windowBytes: 4096)
    let heard = Heard()
    server.serve {
      heard.note($0.request.operation)
      return daemon.answer($0, grants: false)
    }
    let objects = [pattern(100_000)]
    for _ in 0..<2 { _ = try put(connection, objects) }
    #expect(daemon.stored == objects + objects)
    #expect(daemon.inlineBytes == 200_000)
    #expect(heard.count(.openWindow) == 1)
  }

  @Test("of few bytes goes in the stream")
  func small() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let daemon = try WindowServer(windowBytes: 4096)
    server.serve { daemon.answer($0) }
    _ = try put(connection, [pattern(16_384)])
    #expect(daemon.inlineBytes == 16_384)
  }
}
