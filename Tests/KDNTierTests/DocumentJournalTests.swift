import KDNCore
import Testing

@testable import KDNTier

@Suite("The journal of documents")
struct DocumentJournalTests {
  private let name: NamespaceName
  private let storage = [MemoryDirectory(), MemoryDirectory()]

  init() throws { name = try NamespaceName("team") }

  private func journal(_ numbers: Int...) -> DocumentJournal {
    DocumentJournal(numbers.map { (storage[$0], 1 << 30) })
  }

  private func denied(_ rules: String...) throws -> DocumentChange {
    .denied(name, try AccessRules(denied: rules))
  }

  private func file(_ number: Int) -> MemoryFile { storage[number][DirectoryLayout.documents] }

  @Test("gives back what was appended, in order, behind the state that it began with")
  func appended() throws {
    let first = journal(0)
    #expect(first.load().changes.isEmpty)
    try first.append([.epoch(name, 1)]) { [.epoch(name, 1)] }
    try first.append([.epoch(name, 2)]) { [] }
    try first.append([.retired(name, name: "a"), .epoch(name, 3)]) { [] }
    #expect(file(0).unsynchronisedWrites == 0)
    let loaded = journal(0).load()
    let expected: [DocumentChange] = [
      .epoch(name, 1), .epoch(name, 2), .retired(name, name: "a"), .epoch(name, 3),
    ]
    #expect(loaded.changes == expected && !loaded.isDamaged && loaded.problems.isEmpty)
  }

  @Test("goes on where another run stopped, and begins anew when the file is full")
  func full() throws {
    var made = 0
    for run in 0..<4 {
      let journal = journal(0)
      _ = journal.load()
      for step in 1...20 {
        let epoch = UInt64(run * 20 + step)
        try journal.append([.epoch(name, epoch)]) {
          made += 1
          return [.epoch(name, epoch)]
        }
      }
    }
    // The first file has room for 32 batches: 80 need a third one.
    #expect(made == 3)
    #expect(journal(0).load().changes.last == .epoch(name, 80))
    #expect(Set(storage[0].files.keys) == [DirectoryLayout.documents])
  }

  @Test("cuts off a batch that was not written to its end, and writes over none of it")
  func torn() throws {
    let first = journal(0)
    try first.append([.epoch(name, 1)]) { [.epoch(name, 1)] }
    try first.append([.epoch(name, 2)]) { [] }
    file(0).put([UInt8](repeating: 0, count: 4000), at: 2 * 4096 + 96)
    let second = journal(0)
    let loaded = second.load()
    #expect(loaded.changes == [.epoch(name, 1)] && !loaded.isDamaged)
    try second.append([.epoch(name, 3)]) { [.epoch(name, 3)] }
    #expect(journal(0).load().changes == [.epoch(name, 3)])
  }

  @Test("believes no document of a file that is damaged, and keeps its rules and epochs")
  func damaged() throws {
    let first = journal(0)
    var samples = FormatSamples(seed: 5)
    let document = try samples.document("a")
    try first.append([denied("secret")]) { [try? denied("secret")].compactMap { $0 } }
    try first.append([.published(name, document, epoch: 7)]) { [] }
    try first.append([.epoch(name, 8)]) { [] }
    try first.append([.epoch(name, 9)]) { [] }
    file(0).flip(3 * 4096 + 50)
    let loaded = journal(0).load()
    #expect(loaded.isDamaged && loaded.problems.count == 1)
    #expect(try loaded.changes == [.epoch(name, 7), denied("secret")])
  }

  @Test("takes the copy that knows most, and brings the other up to date")
  func copies() throws {
    let both = journal(0, 1)
    try both.append([.epoch(name, 1)]) { [.epoch(name, 1)] }
    let one = journal(0)
    _ = one.load()
    try one.append([.epoch(name, 2)]) { [.epoch(name, 2)] }
    let again = journal(0, 1)
    #expect(again.load().changes.last == .epoch(name, 2))
    try again.append([.epoch(name, 3)]) { [.epoch(name, 3)] }
    #expect(journal(1).load().changes == [.epoch(name, 3)])
    #expect(journal(0).load().changes == [.epoch(name, 1), .epoch(name, 2), .epoch(name, 3)])
  }

  @Test("a whole copy stands for a damaged one, unless the damaged one knew more")
  func damagedCopy() throws {
    let both = journal(0, 1)
    for epoch in 1...4 as ClosedRange<UInt64> {
      try both.append([.epoch(name, epoch)]) { [.epoch(name, epoch)] }
    }
    file(1).flip(2 * 4096 + 50)
    let loaded = journal(0, 1).load()
    #expect(loaded.changes.last == .epoch(name, 4) && !loaded.isDamaged)
    #expect(loaded.problems.count == 1)
    let one = journal(1)
    #expect(one.load().isDamaged)
    // The other copy now lacks what only the damaged one had.
    let behind = journal(0)
    _ = behind.load()
    storage[0].files[DirectoryLayout.documents] = nil
    let fresh = journal(0)
    try fresh.append([.epoch(name, 1)]) { [.epoch(name, 1)] }
    #expect(journal(0, 1).load().isDamaged)
  }

  @Test("a file whose header cannot be read is damaged, and one that is missing is not")
  func header() throws {
    try journal(0).append([.epoch(name, 1)]) { [.epoch(name, 1)] }
    file(0).flip(20)
    #expect(journal(0).load().isDamaged)
    file(0).badBlocks = [0]
    #expect(journal(0).load().isDamaged)
    #expect(!journal(1).load().isDamaged)
  }

  @Test("fails when no directory takes it, and the next batch is written anew")
  func failures() throws {
    let first = journal(0, 1)
    try first.append([.epoch(name, 1)]) { [.epoch(name, 1)] }
    for number in 0...1 { file(number).refusesWrites = true }
    #expect(throws: DiskError.self) {
      try first.append([.epoch(name, 2)]) { [.epoch(name, 2)] }
    }
    #expect(journal(0).load().changes == [.epoch(name, 1)])
    try first.append([.epoch(name, 3)]) { [.epoch(name, 3)] }
    #expect(journal(0, 1).load().changes == [.epoch(name, 3)])
    first.close()
    #expect(throws: DiskError.self) { try first.append([.epoch(name, 4)]) { [] } }
  }

  @Test("a long state comes in several frames")
  func longState() throws {
    var samples = FormatSamples(seed: 9)
    let hash = try samples.hash()
    let document = try Document(
      name: "long", layout: samples.layoutID(), tokenCount: 1 << 14, chunkTokens: 1,
      hashes: [ChunkHash](repeating: hash, count: 1 << 14))
    let state = (1...5).map { DocumentChange.published(name, document, epoch: $0) }
    try journal(0).append([.epoch(name, 5)]) { state }
    let loaded = journal(0).load()
    #expect(loaded.changes == state)
    let bytes = file(0).bytes
    let survey = bytes.withUnsafeBytes { DocumentSurvey(reading: $0) }
    #expect(survey.frames == 5 && survey.header?.stateFrames == 5 && survey.condition == .sound)
    file(0).flip(4096 * 300)
    #expect(journal(0).load().isDamaged)
  }

  @Test("bytes of a client are never taken for a frame")
  func forged() throws {
    let forger = journal(0)
    try forger.append([.epoch(name, 1)]) { [.epoch(name, 1)] }
    let stolen = Array(file(0).bytes[4096..<8192])
    let victim = journal(1)
    try victim.append([.epoch(name, 5)]) { [.epoch(name, 5)] }
    storage[1][DirectoryLayout.documents].put(stolen, at: 2 * 4096)
    let loaded = journal(1).load()
    #expect(loaded.changes == [.epoch(name, 5)] && !loaded.isDamaged)
  }
}
