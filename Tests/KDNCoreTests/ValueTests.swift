import KDNCore
import Testing

@Suite("Byte reader and writer")
struct ByteReaderTests {
  @Test("what is written is read back, little-endian")
  func roundTrip() throws {
    var writer = ByteWriter()
    writer.put(UInt8(1))
    writer.put(UInt16(0x0203))
    writer.put(UInt32(0x0405_0607))
    writer.put(UInt64(0x0809_0A0B_0C0D_0E0F))
    writer.put(-1.5)
    writer.put("zé")
    writer.putZeros(3)
    writer.put(contentsOf: [9, 8])
    #expect(hexadecimal(writer.bytes.prefix(15)) == "010302070605040f0e0d0c0b0a0908")
    #expect(writer.count == 33)
    var reader = ByteReader(writer.bytes)
    #expect(try reader.take("a", as: UInt8.self) == 1)
    #expect(try reader.take("b", as: UInt16.self) == 0x0203)
    #expect(try reader.take("c", as: UInt32.self) == 0x0405_0607)
    #expect(try reader.take("d", as: UInt64.self) == 0x0809_0A0B_0C0D_0E0F)
    #expect(try reader.takeDouble("e") == -1.5)
    #expect(try reader.takeString("f", limit: 3) == "zé")
    try reader.takeReserved(count: 3)
    #expect(reader.offset == 31)
    #expect(try Array(reader.takeBytes("g", count: 2)) == [9, 8])
    try reader.finish()
    writer.removeAll()
    #expect(writer.count == 0)
  }

  @Test("a field that the bytes do not reach is refused and takes nothing", arguments: 0..<8)
  func short(_ count: Int) {
    var reader = ByteReader([UInt8](repeating: 1, count: count))
    let found = fault { _ = try reader.take("number", as: UInt64.self) }
    #expect(found == FieldFault("number", value: count, limit: 8, "bytes end before this field"))
    #expect(reader.offset == 0)
    #expect(fault { _ = try reader.takeBytes("bytes", count: count + 1) }?.field == "bytes")
    #expect(fault { _ = try reader.takeBytes("bytes", count: -1) }?.field == "bytes")
    #expect(fault { _ = try reader.takeBytes("bytes", count: .max) }?.field == "bytes")
  }

  @Test("a reader over a range sees only that range")
  func range() throws {
    var reader = ByteReader([1, 2, 3, 4, 5], in: 1..<3)
    #expect(reader.remaining == 2)
    #expect(try reader.take("pair", as: UInt16.self) == 0x0302)
    #expect(fault { _ = try reader.take("more", as: UInt8.self) }?.value == 0)
  }

  @Test("strings are refused if too long, too short, cut off or not UTF-8")
  func strings() {
    func read(_ bytes: [UInt8]) -> FieldFault? {
      fault {
        var reader = ByteReader(bytes)
        _ = try reader.takeString("text", least: 1, limit: 3)
      }
    }
    #expect(read([4, 0, 97, 97, 97, 97])?.problem == "too long")
    #expect(read([0, 0])?.problem == "too short")
    #expect(read([2, 0, 97])?.value == 1)
    #expect(read([2, 0, 0xFF, 0xFE])?.problem == "not UTF-8")
    #expect(read([1])?.field == "text")
  }

  @Test("reserved bytes that are not zero and bytes left over are refused")
  func reserved() {
    var reader = ByteReader([0, 0, 7])
    #expect(fault { try reader.takeReserved(count: 3) }?.value == 7)
    #expect(fault { try ByteReader([1, 2]).finish() }?.field == "body")
  }

  @Test("a string is cut to its limit at a character")
  func cut() throws {
    var writer = ByteWriter()
    writer.put("aéé", limit: 4)
    #expect(writer.bytes == [3, 0, 97, 0xC3, 0xA9])
  }

  @Test("bytes are copied between arrays and spans whole")
  func spans() {
    var bytes: [UInt8] = [1]
    bytes.append(copying: [2, 3, 4].span)
    bytes.append(copying: [UInt8]().span)
    #expect(bytes == [1, 2, 3, 4])
    var target: [UInt8] = [9, 9, 9]
    var span = target.mutableSpan
    bytes.copy(1..<3, to: &span)
    #expect(target == [2, 3, 9])
  }
}

@Suite("Byte counts")
struct ByteCountTests {
  @Test(
    "sizes with and without units are read",
    arguments: [
      ("0", 0), ("4096", 4096), ("1B", 1), ("2kB", 2000), ("3 KiB", 3072), ("64MiB", 64 << 20),
      ("1GiB", 1 << 30), ("2TiB", 2 << 40), ("5GB", 5_000_000_000), ("7TB", 7_000_000_000_000),
      ("4611686018427387904", 1 << 62), ("8MB", 8_000_000),
    ])
  func parses(_ text: String, _ bytes: Int) throws {
    #expect(try ByteCount(parsing: text, field: "size").bytes == bytes)
  }

  @Test(
    "what is no size is refused",
    arguments: [
      "", "B", "-1", "1.5GiB", "1 gib", "1KB", "12345678901234567890", "4611686018427387905",
      "9000000TiB", "1MiBs", "0x10", "١", " 1",
    ])
  func refuses(_ text: String) {
    #expect(fault { _ = try ByteCount(parsing: text, field: "size") }?.field == "size")
  }

  @Test(
    "a size is written with the largest binary unit that divides it",
    arguments: [
      (0, "0"), (1, "1"), (1024, "1KiB"), (1536, "1536"), (64 << 20, "64MiB"), (3 << 40, "3TiB"),
    ])
  func describes(_ bytes: Int, _ text: String) throws {
    #expect(ByteCount(bytes).description == text)
    #expect(try ByteCount(parsing: text, field: "size") == ByteCount(bytes))
  }
}

@Suite("Names, causes and time")
struct ValueTests {
  @Test(
    "names of letters, digits, dot, underscore and hyphen are taken",
    arguments: ["a", "tenant-7", "A.b_c-9", String(repeating: "n", count: 128)])
  func names(_ text: String) throws {
    #expect(try NamespaceName(text).text == text)
  }

  @Test(
    "other names are refused",
    arguments: ["", " ", "a b", "équipe", "a/b", "a\0", String(repeating: "n", count: 129)])
  func badNames(_ text: String) {
    #expect(fault { _ = try NamespaceName(text) }?.field == "namespace")
  }

  @Test("miss causes have the protocol's numbers and names")
  func causes() {
    #expect(
      MissCause.allCases.map(\.name) == [
        "never_stored", "evicted", "expired", "wrong_layout", "over_deadline", "corrupt",
        "not_ready", "purged", "over_credit", "recompute", "inexact",
        "undecodable",
      ])
    #expect(MissCause.allCases.map(\.rawValue) == Array(1...12))
  }

  @Test("time saturates instead of wrapping")
  func instants() {
    let start = Instant(nanoseconds: 5)
    #expect(start.advanced(milliseconds: 2).nanoseconds == 2_000_005)
    #expect(start.advanced(milliseconds: .max) == .never)
    #expect(Instant.never.advanced(milliseconds: 1) == .never)
    #expect(start.nanoseconds(since: Instant(nanoseconds: 9)) == 0)
    #expect(Instant(nanoseconds: 9).nanoseconds(since: start) == 4)
    #expect(start.milliseconds(until: start) == 0)
    #expect(start.milliseconds(until: Instant(nanoseconds: 6)) == 1)
    #expect(start.milliseconds(until: Instant(nanoseconds: 2_000_005)) == 2)
    #expect(start < .never)
  }

  @Test("a manual clock moves only when told to, the system's never backwards")
  func clocks() {
    let clock = ManualClock(start: Instant(nanoseconds: 7))
    #expect(clock.now() == Instant(nanoseconds: 7))
    clock.advance(milliseconds: 3)
    #expect(clock.now() == Instant(nanoseconds: 3_000_007))
    let system = SystemClock()
    let first = system.now()
    #expect(system.now() >= first)
  }

  @Test("a fault shows field, value and limit")
  func faults() {
    #expect(
      FieldFault("size", value: -1, limit: 4, "odd").description
        == "size: odd (value 0, limit 4)")
  }
}
