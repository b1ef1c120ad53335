import Testing

@testable import kdn

@Suite("The line of kdn learn")
struct LearnDisplayTests {
  @Test(
    "tells whole texts, and draws those that are begun",
    arguments: [
      (0, 0, "learn [........................] 0 of 4"),
      (1, 1000, "learn [############............] 1 of 4"),
      (3, 500, "learn [#####################...] 3 of 4"),
      (4, 0, "learn [########################] 4 of 4"),
      (4, 900, "learn [########################] 4 of 4"),
    ])
  func line(done: Int, permille: Int, expected: String) {
    #expect(LearnDisplay.line(done: done, permille: permille, of: 4) == expected)
  }

  @Test("a worker's result becomes a sentence")
  func learned() throws {
    let json = #"{"name": "a", "epoch": 3, "token_count": 12, "bytes_sent": 1, "seconds": 0.26}"#
    #expect(
      try LearnedText(Array(json.utf8)).line == "learned a: 12 tokens in 0.3 s, epoch 3")
  }
}
