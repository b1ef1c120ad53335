import KDNCore
import Testing

@testable import KDNServer

@Suite("What the RESP facade remembers")
struct RESPUnitTests {
  private static let hash = String(repeating: "ab", count: 32)

  private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test(
    "keys of LMCache are told by their form",
    arguments: [
      "meta/Llama@08000805@0@\(hash)", "m@00000000@1f@abcd", "m@00000000@0@\(hash)@salt",
      "m@1@0@-1a2b@bfloat16", "m@8@5@\(hash)@half@3@tag%value",
    ])
  func keysOfLMCache(text: String) throws {
    let key = try #require(LMCacheKey(Self.bytes(text)))
    #expect(Self.bytes(text).starts(with: key.family))
    #expect(String(decoding: key.family, as: UTF8.self).split(separator: "@").count == 3)
  }

  @Test(
    "other keys are not",
    arguments: [
      "", "key:000000000042", "m@00000000@0", "m@0000000g@0@\(hash)", "m@00000000@0@abc",
      "@00000000@0@\(hash)", "m@00000000@@\(hash)", "m@0000000a@0@\(hash)@a@b@c",
      "user@example@com", "m@1@0@-1a2b", "m@1@x@1a2b@half", "m@00000000@0@\(hash)kv_bytes",
    ])
  func otherKeys(text: String) {
    #expect(LMCacheKey(Self.bytes(text)) == nil)
  }

  @Test("the length that is awaited is the last one of the key's family")
  func lengths() {
    var lengths = ValueLengths()
    #expect(lengths.length(likeOf: Self.bytes("m@00000000@0@ab")) == nil && lengths.last == nil)
    lengths.note(100, of: Self.bytes("m@00000000@0@ab"))
    lengths.note(200, of: Self.bytes("m@00000000@1@ab"))
    #expect(lengths.length(likeOf: Self.bytes("m@00000000@0@cd")) == 100)
    #expect(lengths.length(likeOf: Self.bytes("m@00000000@1@cd")) == 200)
    #expect(lengths.length(likeOf: Self.bytes("m@00000000@2@cd")) == nil && lengths.last == 200)
    for number in 0..<2 * ValueLengths.familiesMax {
      lengths.note(7, of: Self.bytes("m\(number)@00000000@0@ab"))
    }
    #expect(lengths.length(likeOf: Self.bytes("m@00000000@0@cd")) == nil)
  }

  @Test("names are told once each, from any place on, though some go meanwhile")
  func names() {
    var names = KeyNames()
    let all = (0..<100).map { Self.bytes("name \($0)") }
    for name in all + all { _ = names.note(name) { _ in true } }
    #expect(names.count == 100)
    var found: [[UInt8]] = []
    var cursor: UInt64 = 0
    repeat {
      let page = names.page(from: cursor, count: 7)
      found += page.names
      cursor = page.next
      _ = names.forget(all[found.count - 1])
    } while cursor != 0
    #expect(found == all)
    #expect(names.page(from: 1 << 60, count: 10).names.isEmpty)
    #expect(names.page(from: .max, count: 10).next == 0)
  }

  @Test("names take no more memory than is allowed, and give all of it back")
  func memory() {
    var names = KeyNames()
    var charged = 0
    for number in 0..<3000 {
      let name = Self.bytes("\(number)") + [UInt8](repeating: 0, count: 8000)
      let change = names.note(name) { bytes in
        if bytes > 0 { charged += bytes }
        return true
      }
      if change < 0 { charged += change }
      #expect(charged == names.bytes && charged <= KeyNames.bytesMax)
    }
    #expect(names.count < 3000 && names.count > 900)
    _ = names.note(Self.bytes("no room")) { $0 <= 0 }
    charged = names.bytes
    charged -= names.forgetAll()
    #expect(charged == 0 && names.count == 0 && names.page(from: 0, count: 5).names.isEmpty)
    #expect(names.note(Self.bytes("again")) { _ in true } > 0)
    #expect(names.page(from: 0, count: 5).names == [Self.bytes("again")])
  }

  @Test("an answer that comes while it is asked for is told from a later one")
  func prompt() {
    let early = PromptAnswer<Int>()
    #expect(early.keep(1) && early.take() == 1)
    let late = PromptAnswer<Int>()
    #expect(late.take() == nil && !late.keep(1))
  }
}
