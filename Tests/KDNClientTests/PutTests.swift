import KDNCore
import KDNWire
import Testing

@testable import KDNClient

@Suite("A PUT")
struct PutTests {
  private func facts(_ count: Int, key: UInt8 = 1) throws -> PutBeginRequest {
    PutBeginRequest(key: try opaqueKey(key), totalBytes: count)
  }

  private func answers(
    begin: UInt64, _ checksum: Checksum, _ state: PutCommitResponse.State = .published
  ) -> [UInt8] {
    Frames.answer(.putBegin(.reserved), id: begin)
      + Frames.answer(
        .putCommit(PutCommitResponse(state: state, checksum: checksum)), id: begin + 1)
  }

  /// Puts bytes that lie in pieces of the given length.
  private func put(
    _ connection: Connection, _ bytes: [UInt8], pieceBytes: Int, checksum: Checksum? = nil
  ) throws -> PutCommitResponse.State {
    let facts = try facts(bytes.count)
    return try bytes.withUnsafeBytes { whole in
      let pieces = stride(from: 0, to: bytes.count, by: pieceBytes).map {
        UnsafeRawBufferPointer(rebasing: whole[$0..<min($0 + pieceBytes, bytes.count)])
      }
      return try connection.put(PutItem(facts, pieces: pieces, checksum: checksum))
    }
  }

  @Test("waits for both answers, in whichever order they come")
  func commitOvertakesBegin() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let bytes = pattern(100)
    let commit = PutCommitResponse(state: .published, checksum: Checksum(of: bytes))
    server.say(Frames.answer(.putCommit(commit), id: 3))
    server.say(Frames.answer(.putBegin(.reserved), id: 2))
    server.say(Frames.answer(.exists(ExistsResponse(present: Bitmap(count: 0))), id: 4))
    #expect(try put(connection, bytes, pieceBytes: 100) == .published)
    _ = try connection.request(.exists(KeysRequest(keys: [])))
    #expect(connection.isOpen)
  }

  @Test(
    "sends BEGIN, its bytes in order without a gap, and COMMIT with their checksum",
    arguments: [10, 900, 1_000, 4_000, 20_000], [7, 20_000])
  func frames(count: Int, pieceBytes: Int) throws {
    let server = ScriptedServer()
    var limits = Limits()
    limits.maxFramePayloadBytes = 1_000
    let connection = try server.greeted(limits: limits)
    let bytes = pattern(count)
    server.say(answers(begin: 2, Checksum(of: bytes)))
    #expect(try put(connection, bytes, pieceBytes: pieceBytes) == .published)

    let begin = try server.hearFrame()
    #expect(begin.header.operation == .putBegin)
    #expect(begin.header.requestID == 2)
    var heard: [UInt8] = []
    while heard.count < count {
      let data = try server.hearFrame()
      #expect(data.header.operation == .putData)
      #expect(data.header.payloadLength <= 1_000)
      var reader = ByteReader(data.body)
      let request = try PutDataRequest(from: &reader)
      #expect(request == PutDataRequest(transferID: 2, offset: UInt64(heard.count)))
      heard += data.payload
    }
    #expect(heard == bytes)
    let commit = try server.hearFrame()
    #expect(commit.header.operation == .putCommit)
    var reader = ByteReader(commit.body)
    #expect(
      try PutCommitRequest(from: &reader)
        == PutCommitRequest(transferID: 2, checksum: Checksum(of: bytes)))
  }

  @Test("sends the checksum that the caller knows already")
  func knownChecksum() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    server.say(answers(begin: 2, Checksum(77), .present))
    let bytes = pattern(100)
    #expect(try put(connection, bytes, pieceBytes: 100, checksum: Checksum(77)) == .present)
    _ = try server.hearFrame()
    _ = try server.hearFrame()
    var reader = ByteReader(try server.hearFrame().body)
    #expect(try PutCommitRequest(from: &reader).checksum == Checksum(77))
  }

  @Test("is refused with what BEGIN was refused for, not with what COMMIT then lacks")
  func refusedBegin() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    server.say(Frames.error(.putBegin, id: 2, .busy) + Frames.error(.putCommit, id: 3, .notFound))
    guard
      case .refused(.busy, _) = failure({ try put(connection, pattern(100), pieceBytes: 100) })
    else {
      Issue.record("not refused with busy")
      return
    }
    server.say(answers(begin: 4, Checksum(of: pattern(100))))
    #expect(try put(connection, pattern(100), pieceBytes: 100) == .published)
  }

  @Test("is refused when the server confirms other bytes than were sent")
  func confirmsOtherBytes() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    server.say(answers(begin: 2, Checksum(1)))
    guard
      case .refused(.checksumMismatch, _) = failure({
        try put(connection, pattern(100), pieceBytes: 100)
      })
    else {
      Issue.record("a wrong checksum was taken for a store")
      return
    }
  }

  @Test("that the server would refuse for its size is not sent", arguments: [true, false])
  func tooLarge(beyondObject: Bool) throws {
    let server = ScriptedServer()
    var limits = Limits()
    if beyondObject { limits.maxObjectBytes = 99 } else { limits.creditBytes = 99 }
    let connection = try server.greeted(limits: limits)
    let expected = beyondObject ? Status.tooLarge : .overCredit
    guard
      case .refused(let status, _) = failure({
        try put(connection, pattern(100), pieceBytes: 100)
      })
    else {
      Issue.record("sent")
      return
    }
    #expect(status == expected)
  }

  @Test(
    "of a batch sends as many stores as the credit lets, and tells of each",
    arguments: [1, 2, 64])
  func batch(requestsInFlight: Int) throws {
    let server = ScriptedServer()
    var limits = Limits()
    limits.maxRequestsInFlight = requestsInFlight
    limits.creditBytes = 250
    let connection = try server.greeted(limits: limits)
    let bytes = pattern(100)
    let checksum = Checksum(of: bytes)
    // In order, for with one request in flight COMMIT gets its id after BEGIN is answered.
    server.say(answers(begin: 2, checksum))
    server.say(
      Frames.error(.putBegin, id: 4, .conflict) + Frames.error(.putCommit, id: 5, .notFound))
    server.say(answers(begin: 6, checksum, .present))
    let results = try bytes.withUnsafeBytes { whole in
      try connection.put(
        batch: try (1...3).map { PutItem(try facts(100, key: $0), pieces: [whole]) })
    }
    #expect(results.count == 3)
    #expect(results[0] == .stored(.published, checksum))
    #expect(results[2] == .stored(.present, checksum))
    guard case .refused(.conflict, _) = results[1] else {
      Issue.record("the second store was not refused")
      return
    }
  }

  @Test("takes answers of a batch in any order")
  func answersOutOfOrder() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let bytes = pattern(100)
    let checksum = Checksum(of: bytes)
    let commits = [UInt64(7), 3, 5].map {
      Frames.answer(
        .putCommit(PutCommitResponse(state: $0 == 3 ? .present : .published, checksum: checksum)),
        id: $0)
    }
    let begins = [UInt64(6), 4, 2].map { Frames.answer(.putBegin(.reserved), id: $0) }
    // Answers may come before the client has sent what they answer only if it does not read yet.
    server.say((begins + commits).flatMap(\.self))
    let results = try bytes.withUnsafeBytes { whole in
      try connection.put(
        batch: try (1...3).map { PutItem(try facts(100, key: $0), pieces: [whole]) })
    }
    #expect(
      results == [
        .stored(.present, checksum), .stored(.published, checksum), .stored(.published, checksum),
      ])
  }
}
