import Foundation
import KDNCore
import Testing

@Suite struct TokenTextsTests {
  struct File: Decodable {
    let texts: [Text]
    let invalidTexts: [InvalidVector]
    let finds: [Find]
    let findFaults: [Find]
    let keys: [NamedKey]
  }

  struct Text: Decodable {
    let name: String
    let ends: [Int]
    let text: String
    let hex: String
  }

  struct Find: Decodable, Sendable, CustomTestStringConvertible {
    let texts: String
    let phrase: String
    let occurrence: Int?
    let spans: [[Int]]?
    let field: String?
    let value: UInt64?

    var choice: PhraseChoice { occurrence.map { $0 == 0 ? .all : .number($0) } ?? .only }
    var testDescription: String { "\(phrase.prefix(20)) in \(texts)" }
  }

  struct NamedKey: Decodable {
    let lastChunk: String
    let hash: String
  }

  static let file: File = Vectors.read("texts.json")

  private func texts(_ name: String) throws -> TokenTexts {
    let row = try #require(Self.file.texts.first { $0.name == name })
    return try TokenTexts(decoding: unhex(row.hex))
  }

  @Test func textsHaveTheVectorsBytes() throws {
    for row in Self.file.texts {
      let texts = try TokenTexts(ends: row.ends, text: unhex(row.text))
      #expect(texts.encoding == unhex(row.hex), "\(row.name)")
      #expect(try TokenTexts(decoding: unhex(row.hex)) == texts, "\(row.name)")
    }
    for row in Self.file.keys {
      let last = try ChunkHash(unhex(row.lastChunk))
      #expect("\(TokenTexts.key(lastChunk: last).hash)" == row.hash)
    }
  }

  @Test(arguments: file.invalidTexts)
  func whatIsWrongIsRefusedByItsField(row: InvalidVector) {
    let fault = #expect(throws: FieldFault.self) { try TokenTexts(decoding: unhex(row.hex)) }
    #expect(fault?.field == row.field)
  }

  @Test func anObjectThatEndsEarlyIsRefused() throws {
    let whole = try unhex(#require(Self.file.texts.first).hex)
    for count in whole.indices {
      #expect(throws: FieldFault.self) { try TokenTexts(decoding: Array(whole.prefix(count))) }
    }
  }

  @Test(arguments: file.finds)
  func aPhraseIsFoundInTheTokensThatStandForIt(row: Find) throws {
    let spans = try texts(row.texts).spans(of: row.phrase, row.choice)
    #expect(spans.ranges.map { [$0.lowerBound, $0.upperBound] } == row.spans)
  }

  @Test(arguments: file.findFaults)
  func aPhraseThatIsNotThereOrNotOneIsRefusedWithHowOftenItIs(row: Find) throws {
    let texts = try texts(row.texts)
    let fault = #expect(throws: FieldFault.self) { try texts.spans(of: row.phrase, row.choice) }
    #expect(fault?.field == row.field && fault?.value == row.value)
  }

  @Test func aLongTextOfOneLetterIsSearchedInLinearTime() throws {
    let count = 1 << 20
    let texts = try TokenTexts(
      ends: Array(1...count), text: Array(repeating: UInt8(ascii: "a"), count: count))
    let phrase = String(repeating: "a", count: TokenTexts.phraseBytesMax - 1) + "b"
    #expect(throws: FieldFault.self) { try texts.spans(of: phrase) }
  }
}
