import KDNCore
import Testing

@testable import KDNTier

@Suite("Records that left the index")
struct ShadowTests {
  private func key(_ number: Int, tenant: UInt32 = 0) -> DiskKey {
    let hash = HashChain.opaque(Array("\(number)".utf8))
    return DiskKey(namespace: tenant, key: ObjectKey(opaque: hash))
  }

  @Test("are remembered by name with their highest sequence, until they are overwritten")
  func remembers() {
    var shadows = ShadowTable()
    shadows.note(key(1), sequence: 7) { 0 }
    shadows.note(key(1), sequence: 5) { 0 }
    shadows.note(key(1, tenant: 1), sequence: 9) { 0 }
    #expect(shadows.sequence(of: key(1)) == 7 && shadows.sequence(of: key(2)) == 0)
    shadows.note(key(2, tenant: 1), sequence: 4, generation: 1) { 0 }
    shadows.note(key(2, tenant: 1), sequence: 6) { 0 }
    shadows.forget(1, before: 1)
    #expect(shadows.sequence(of: key(1, tenant: 1)) == 0)
    #expect(shadows.sequence(of: key(2, tenant: 1)) == 6)
    shadows.forget(before: 7)
    #expect(shadows.sequence(of: key(1)) == 7)
    shadows.forget(before: 8)
    #expect(shadows.sequence(of: key(1)) == 0)
  }

  @Test("beyond what is remembered may be of any name")
  func overflow() {
    var shadows = ShadowTable()
    for number in 0...ShadowTable.namesMax {
      shadows.note(key(number), sequence: UInt64(number + 1)) { 1 }
    }
    #expect(shadows.count <= ShadowTable.namesMax)
    let last = UInt64(ShadowTable.namesMax)
    #expect(shadows.sequence(of: key(-1)) == last && shadows.sequence(of: key(3)) == last)
    shadows.forget(before: last + 1)
    #expect(shadows.sequence(of: key(-1)) == 0)
    #expect(shadows.sequence(of: key(ShadowTable.namesMax)) == last + 1)
  }

  @Test("that were overwritten make room before any is given up")
  func makesRoom() {
    var shadows = ShadowTable()
    for number in 0..<ShadowTable.namesMax {
      shadows.note(key(number), sequence: UInt64(number + 1)) { 0 }
    }
    let half = UInt64(ShadowTable.namesMax / 2)
    shadows.note(key(-2), sequence: .max) { half + 2 }
    #expect(shadows.sequence(of: key(-1)) == 0 && shadows.sequence(of: key(-2)) == .max)
    #expect(shadows.count <= ShadowTable.namesMax / 2 + 1)
  }

  @Test("a purge is in doubt until its own ticket has ended well")
  func doubts() {
    var doubts = PurgeDoubts()
    doubts.add(.key(key(1)), ticket: 4)
    doubts.add(.key(key(1)), ticket: 6)
    doubts.add(.tenant(1), ticket: 7)
    doubts.end(4, isDurable: true)
    #expect(doubts.concern(key(1)), "a later purge of the key is not durable yet")
    doubts.end(6, isDurable: false)
    #expect(doubts.concern(key(1)) && !doubts.concern(key(2)))
    doubts.add(.key(key(1)), ticket: 8)
    doubts.end(8, isDurable: true)
    #expect(!doubts.concern(key(1)) && doubts.concern(key(2, tenant: 1)))
    doubts.end(7, isDurable: true)
    #expect(!doubts.concern(key(2, tenant: 1)))
    doubts.add(.key(key(3)), ticket: .max)
    #expect(doubts.concern(key(3)))
  }
}
