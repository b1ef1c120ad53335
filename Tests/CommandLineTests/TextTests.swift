import Testing

@testable import kdn

@Suite struct TextTests {
  @Test(
    "bytes have a binary unit and three digits",
    arguments: [
      (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536, "1.50 KiB"), (10 << 20, "10.0 MiB"),
      (100 << 30, "100 GiB"), (5 << 40, "5.00 TiB"), (2 << 50, "2.00 PiB"),
      (4096 << 50, "4096 PiB"),
    ])
  func bytes(count: Int, text: String) { #expect(Text.bytes(count) == text) }

  @Test(
    "times have a fitting unit",
    arguments: [
      (0, "0 µs"), (999, "999 µs"), (1000, "1.00 ms"), (12_345, "12.3 ms"), (1_500_000, "1.50 s"),
      (600_000_000, "600 s"),
    ])
  func times(microseconds: Int, text: String) { #expect(Text.microseconds(microseconds) == text) }

  @Test(
    "a share of nothing is a dash", arguments: [(0, 0, "-"), (0, 4, "0.0 %"), (1, 3, "33.3 %")])
  func percent(part: Int, whole: Int, text: String) {
    #expect(Text.percent(part, of: whole) == text)
  }

  @Test(
    "points in time are told in UTC",
    arguments: [
      (UInt64(0), "1970-01-01 00:00:00Z"), (951_782_400_000, "2000-02-29 00:00:00Z"),
      (1_763_740_799_999, "2025-11-21 15:59:59Z"), (4_107_542_400_000, "2100-03-01 00:00:00Z"),
    ])
  func time(milliseconds: UInt64, text: String) {
    #expect(Text.time(unixMilliseconds: milliseconds) == text)
  }

  @Test("columns of numbers stand to the right, words to the left, nothing trails")
  func table() {
    let lines = Text.table(["name", "count"], [["a", "7"], ["long", "1234567"]])
    #expect(lines == ["name    count", "a           7", "long  1234567"])
    #expect(Text.table(["name", "note"], [["a", ""]]) == ["name  note", "a"])
  }

  @Test("a long name keeps its end")
  func tail() {
    #expect(Text.tail("short", columns: 5) == "short")
    #expect(Text.tail("/var/cache/kdn", columns: 6) == "~e/kdn")
  }

  @Test("lines break between words, and a long word stands alone")
  func wrapped() {
    #expect(Text.wrapped("one two three", columns: 7) == ["one two", "three"])
    #expect(Text.wrapped("a muchtoolong b", columns: 4) == ["a", "muchtoolong", "b"])
    #expect(Text.wrapped("", columns: 4) == [])
  }
}
