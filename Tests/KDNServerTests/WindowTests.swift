import Foundation
import KDNClient
import KDNCore
import KDNMemory
import KDNWire
import Testing

@testable import KDNServer

@Suite("A PUT from a window")
struct WindowTests: ServerTesting {
  private func put(
    _ client: RawClient, _ name: String, _ value: [UInt8], from offset: Int, id: UInt64,
    checksum: Checksum? = nil
  ) throws -> RawClient.Frame {
    try client.ask(
      .putBegin(PutBeginRequest(key: opaque(name), totalBytes: value.count)), id: id)
    let source = PutSource.window(offset: offset, byteCount: value.count)
    try client.ask(
      .putData(PutDataRequest(transferID: id, offset: 0, source: source)), id: id)
    let commit = PutCommitRequest(transferID: id, checksum: checksum ?? Checksum(of: value))
    try client.ask(.putCommit(commit), id: id + 1)
    let begun = try client.receive()
    #expect(begun.header.requestID == id && begun.status == .ok)
    return try client.receive()
  }

  @Test("stores what was written there; after an answer the window may be written again")
  func stores() throws {
    let fixture = try SharedMemoryFixture()
    let client = try fixture.client()
    let window = try client.window(700_000, id: 2)
    #expect(window.byteCount == 700_416, "whole pages")
    let value = bytes(600_000, seed: 5)
    window.writableBytes[50_000..<650_000].copyBytes(from: value)
    #expect(try put(client, "from window", value, from: 50_000, id: 3).status == .ok)
    for index in window.writableBytes.indices { window.writableBytes[index] = 0xFF }
    #expect(try fixture.viewer().get(opaque("from window"), capacity: 600_000).bytes == value)
    let shared = try #require(fixture.link(.sharedMemory))
    #expect(shared.copied == value.count && shared.hashed == value.count)
    #expect(fixture.link(.unix)?.copied == 0)
    withExtendedLifetime(fixture) {}
  }

  @Test("takes the checksum of its copy: what the client changes later is not stored")
  func checksumOfCopy() throws {
    let fixture = try SharedMemoryFixture()
    let client = try fixture.client()
    let window = try client.window(8192, id: 2)
    let value = bytes(5000, seed: 6)
    window.writableBytes.copyBytes(from: value)
    try client.ask(.putBegin(PutBeginRequest(key: opaque("copied"), totalBytes: 5000)), id: 3)
    let source = PutSource.window(offset: 0, byteCount: 5000)
    try client.ask(.putData(PutDataRequest(transferID: 3, offset: 0, source: source)), id: 3)
    _ = try client.receive()
    try client.ping(id: 4)
    window.writableBytes[17] ^= 1
    let commit = PutCommitRequest(transferID: 3, checksum: Checksum(of: value))
    #expect(try client.status(.putCommit(commit), id: 5) == .ok)
    #expect(try fixture.viewer().get(opaque("copied"), capacity: 5000).bytes == value)
    withExtendedLifetime(fixture) {}
  }

  @Test("is refused at COMMIT if the bytes are not those announced")
  func wrongChecksum() throws {
    let fixture = try SharedMemoryFixture()
    let client = try fixture.client()
    _ = try client.window(8192, id: 2)
    let answer = try put(
      client, "wrong", bytes(5000, seed: 6), from: 0, id: 3, checksum: Checksum(1))
    #expect(answer.status == .checksumMismatch)
    withExtendedLifetime(fixture) {}
  }

  @Test(
    "is refused at COMMIT if it reaches beyond the window",
    arguments: [8192 - 4999, 8192, 1 << 40, Int.max - 5000])
  func outside(offset: Int) throws {
    let fixture = try SharedMemoryFixture()
    let client = try fixture.client()
    _ = try client.window(8192, id: 2)
    let answer = try put(client, "outside", bytes(5000, seed: 6), from: offset, id: 3)
    #expect(answer.status == .badRequest)
    #expect(try answer.error().field == "windowOffset")
    #expect(try answer.error().value == UInt64(offset + 5000))
    #expect(try answer.error().limit == 8192)
    try client.ping(id: 9)
    withExtendedLifetime(fixture) {}
  }

  @Test("is refused at COMMIT without a window")
  func noWindow() throws {
    let fixture = try SharedMemoryFixture()
    let client = try fixture.client()
    let answer = try put(client, "nowhere", bytes(100, seed: 6), from: 0, id: 3)
    #expect(answer.status == .badRequest)
    #expect(try answer.error().field == "windowOffset")
    withExtendedLifetime(fixture) {}
  }

  @Test("has one window for each connection, never larger than the setting")
  func oneWindow() throws {
    let fixture = try SharedMemoryFixture(["shm_window": ["1MiB"]])
    let client = try fixture.client()
    let window = try client.window(1 << 30, id: 2)
    #expect(window.byteCount == 1 << 20)
    let again = try client.exchange(.openWindow(OpenWindowRequest(byteCount: 4096)), id: 3)
    #expect(again.status == .outOfSequence)
    #expect(client.descriptorCount == 0)
    withExtendedLifetime(fixture) {}
  }

  @Test("gives windows room for each other, then says busy; what a client leaves is free again")
  func room() throws {
    let fixture = try SharedMemoryFixture()
    let all = fixture.server.context.sharedMemory.windowBytesMax
    #expect(all == 4 << 20, "a sixteenth of 64 MiB")
    var clients: [RawClient] = []
    var granted: [Int] = []
    while true {
      let client = try fixture.client()
      do {
        granted.append(try client.window(1 << 30, id: 2).byteCount)
        clients.append(client)
      } catch let refused as RawClient.Refused {
        #expect(refused.status == .busy && refused.body.retryAfterMilliseconds > 0)
        break
      }
    }
    #expect(granted.first == all / 2 && granted.count > 4)
    #expect(granted.reduce(0, +) <= all)
    clients.removeAll()
    while fixture.shared.windowBytes > 0 {}
    #expect(try fixture.client().window(1 << 30, id: 2).byteCount == all / 2)
    withExtendedLifetime(fixture) {}
  }

  @Test("yields to others: a long run of copies is carried out in order, and all of it")
  func longRun() throws {
    let fixture = try SharedMemoryFixture(["credit": ["64MiB"]])
    let client = try fixture.client()
    let window = try client.window(1 << 20, id: 2)
    let piece = bytes(1 << 20, seed: 8)
    window.writableBytes.copyBytes(from: piece)
    // More than one turn may copy, in one write.
    let count = 24
    let whole = (0..<count).flatMap { _ in piece }
    let begin = Request.putBegin(
      PutBeginRequest(key: opaque("long"), totalBytes: whole.count))
    let pieces = (0..<count).map { number in
      let source = PutSource.window(offset: 0, byteCount: 1 << 20)
      return Request.putData(
        PutDataRequest(transferID: 3, offset: UInt64(number << 20), source: source))
    }
    let commit = PutCommitRequest(transferID: 3, checksum: Checksum(of: whole))
    try client.ask([begin] + pieces, id: 3)
    try client.ask(.putCommit(commit), id: 4)
    let answers = try [client.receive(), client.receive()]
    #expect(answers.map(\.header.requestID) == [3, 4])
    #expect(answers.map(\.status) == [.ok, .ok])
    let shared = try #require(fixture.link(.sharedMemory))
    #expect(shared.copied == whole.count)
    // Another run, of a transfer that there is not: its bytes are not even looked at.
    let before = pieces.map { _ in
      Request.putData(
        PutDataRequest(
          transferID: 99, offset: 0, source: .window(offset: 0, byteCount: 1 << 20)))
    }
    try client.ask(before, id: 99)
    try client.ping(id: 5)
    #expect(fixture.link(.sharedMemory)?.copied == whole.count)
    withExtendedLifetime(fixture) {}
  }
}
