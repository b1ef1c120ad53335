import FoundationEssentials
import KDNCore
import Testing

@testable import kdn

@Suite struct ProfileLearnTests {
  private static let whole = Part(
    firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)

  /// Runs `body` in a fresh directory with these files, and removes it.
  private func inFolder(_ files: [String: String], _ body: (String) throws -> Void) throws {
    let path = FileManager.default.temporaryDirectory.path + "/kdn-dump-\(UUID())"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: path) }
    for (name, text) in files { try FileBytes.write(Array(text.utf8), to: "\(path)/\(name)") }
    try body(path)
  }

  private struct Taken {
    let bytes: [UInt8]
    let firstToken: UInt64
    let tokenCount: Int
  }

  private func chunks(_ path: String, of part: Part = Self.whole) throws -> [Taken] {
    var chunks: [Taken] = []
    let folder = try DumpFolder(path, whole: Self.whole)
    try folder.chunks(of: part, tokensMax: 100, bytesPerToken: 2) { chunk, done, total in
      chunks.append(
        Taken(bytes: chunk.bytes, firstToken: chunk.firstToken, tokenCount: chunk.tokenCount))
      #expect(done <= total)
    }
    return chunks
  }

  @Test func dumpsAreReadInTheOrderOfTheirNames() throws {
    let files = [
      "b.kv": "ccdd", "b.json": #"{"first_token": 256, "token_count": 2}"#,
      "a.kv": "aa", "a.json": #"{"first_token": 0, "token_count": 1, "part": [0, 1, 0, 1]}"#,
      "c.kv": "ee", "c.json": #"{"first_token": 0, "token_count": 1, "part": [0, 1, 1, 1]}"#,
      "notes.txt": "no payload",
    ]
    try inFolder(files) { path in
      let found = try chunks(path)
      #expect(found.map(\.firstToken) == [0, 256] && found.map(\.tokenCount) == [1, 2])
      #expect(found.map { String(decoding: $0.bytes, as: UTF8.self) } == ["aa", "ccdd"])
      let other = Part(firstLayer: 0, layerCount: 1, firstKVHead: 1, kvHeadCount: 1)
      #expect(try chunks(path, of: other).map(\.bytes) == [Array("ee".utf8)])
    }
  }

  @Test(arguments: [
    (#"{"first_token": 0}"#, "dump"), ("[]", "dump"),
    (#"{"first_token": 0, "token_count": 0}"#, "token_count"),
    (#"{"first_token": 0, "token_count": 70000}"#, "token_count"),
    (#"{"first_token": 0, "token_count": 1, "part": [0, 1]}"#, "part"),
  ])
  func factsThatCannotBeAreRefused(_ json: String, _ field: String) throws {
    try inFolder(["a.kv": "aa", "a.json": json]) { path in
      do {
        _ = try chunks(path)
        Issue.record("took \(json)")
      } catch let fault as FieldFault {
        #expect(fault.field == field)
      }
    }
  }

  @Test func aDirectoryWithoutDumpsIsRefused() throws {
    try inFolder(["notes.txt": ""]) { path in
      #expect(throws: FieldFault.self) { try chunks(path) }
      #expect(throws: FieldFault.self) { try chunks(path + "/missing") }
    }
  }

  @Test func aPayloadOfMoreBytesThanItsTokensIsRefused() throws {
    try inFolder(["a.kv": "aaa", "a.json": #"{"first_token": 0, "token_count": 1}"#]) { path in
      #expect(throws: FileFault.self) { try chunks(path) }
    }
  }

  @Test func chunksAreTakenEvenlyFromAllThatThereAre() {
    let counts = [Int](repeating: 10, count: 100)
    #expect(ChunkChoice.spread(counts, tokensMax: 2000) == Array(0..<100))
    let some = ChunkChoice.spread(counts, tokensMax: 105)
    #expect(some.count == 10)
    #expect(zip(some, some.dropFirst()).allSatisfy { (8...12).contains($1 - $0) })
    #expect(ChunkChoice.spread([50, 3], tokensMax: 10) == [1])
    #expect(ChunkChoice.spread([50], tokensMax: 10) == [0])
    #expect(ChunkChoice.spread([], tokensMax: 10) == [])
  }

  @Test func partsAreFourNumbersWithCommasBetween() {
    let part = PartArgument(argument: "2,4,1,3")?.part
    #expect(part == Part(firstLayer: 2, layerCount: 4, firstKVHead: 1, kvHeadCount: 3))
    for text in ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1,2,,3", "-1,2,3,4", "70000,1,0,1"] {
      #expect(PartArgument(argument: text) == nil)
    }
    #expect(
      ChunkChoice.text(of: Part(firstLayer: 2, layerCount: 4, firstKVHead: 1, kvHeadCount: 3))
        == "layers 2-5, heads 1-3")
  }
}
