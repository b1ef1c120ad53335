import Testing

@testable import KDNPool

@Suite("What a recoding does with one object")
struct RecodingDecisionTests {
  private func decide(
    _ ram: RecodableForm?, _ below: RecodableForm?, to codec: UInt8,
    _ tiers: Set<CodingTier> = [.ram, .disk]
  ) -> RecodingDecision {
    RecodingDecision(ram: ram, below: below, RecodingOrder(tiers: tiers, codec: codec))
  }

  @Test("changes every tier that can still give what was stored")
  func changes() {
    let both = decide(.whole(0), .whole(1), to: 3)
    #expect(both.changesRAM && both.changesBelow && both.readsRAM && both.obstacle == nil)
    let below = decide(nil, .whole(0), to: 1)
    #expect(!below.changesRAM && below.changesBelow && !below.readsRAM)
    let back = decide(.whole(1), nil, to: 0)
    #expect(back.changesRAM && !back.changesBelow && back.readsRAM)
  }

  @Test("takes what is in RAM if that serves, and reads the disk if only that does")
  func sources() {
    let made = decide(.lossy(3), .whole(0), to: 3)
    #expect(made.readsRAM && !made.changesRAM && made.changesBelow)
    let other = decide(.lossy(3), .whole(0), to: 1)
    #expect(!other.readsRAM && !other.changesRAM && other.changesBelow)
  }

  @Test(
    "never changes a lossy form, to whatever form",
    arguments: [0, 1, 2, 4] as [UInt8])
  func lossy(codec: UInt8) {
    let decision = decide(.lossy(3), .lossy(3), to: codec)
    #expect(!decision.changesRAM && !decision.changesBelow)
    #expect(decision.obstacle == .alreadyLossy && decision.isWithin)
  }

  @Test("tells apart what is so already, what is lost and what is not there")
  func obstacles() {
    #expect(decide(.whole(1), .whole(1), to: 1).obstacle == .sameForm)
    #expect(decide(.lossy(3), nil, to: 3).obstacle == .sameForm)
    #expect(decide(.whole(1), .lossy(3), to: 1).obstacle == .alreadyLossy)
    #expect(decide(nil, nil, to: 1).obstacle == .gone)
    #expect(!decide(nil, nil, to: 1).isWithin)
  }

  @Test("minds only the tiers that the order names")
  func tiers() {
    let disk = decide(.whole(0), .whole(0), to: 1, [.disk])
    #expect(!disk.changesRAM && disk.changesBelow && disk.readsRAM)
    let ram = decide(.whole(0), .whole(0), to: 1, [.ram])
    #expect(ram.changesRAM && !ram.changesBelow)
    #expect(!decide(nil, .whole(0), to: 1, [.ram]).isWithin)
    #expect(!decide(.whole(0), nil, to: 1, [.disk]).isWithin)
    #expect(decide(.whole(0), .lossy(3), to: 1, [.disk]).obstacle == .alreadyLossy)
  }
}
