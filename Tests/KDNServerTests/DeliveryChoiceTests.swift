import KDNWire
import Testing

@testable import KDNServer

/// Numbers that are the same in each run.
private struct Dice {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func below(_ limit: Int) -> Int {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(state % UInt64(limit))
  }

  /// A chain of chunks, each raw, encoded, or both.
  mutating func chain(_ count: Int) -> [DeliveryChunk] {
    (0..<count).map { _ in
      let raw = 1000 + below(9000)
      let byteCount = raw / (2 + below(10))
      let encoded = DeliveryForm(
        codec: [.exact, .balanced, .small, .archive][below(4)], byteCount: byteCount,
        readBytes: below(3) == 0 ? byteCount : 0)
      let plain = DeliveryForm(
        codec: .raw, byteCount: raw, readBytes: below(4) == 0 ? raw : 0)
      return DeliveryChunk(
        rawByteCount: raw, tokenCount: 16 * below(5),
        forms: [[plain], [encoded], [plain, encoded]][below(3)])
    }
  }

  mutating func rates() -> DeliveryRates {
    DeliveryRates(
      bytesPerSecond: Double(1 + below(100_000)),
      decodedPerSecond: below(2) == 0 ? nil : Double(1000 + below(100_000)),
      transformedPerSecond: below(2) == 0 ? nil : Double(1000 + below(50_000)),
      tokensPerSecond: below(2) == 0 ? nil : Double(10 + below(1000)),
      readPerSecond: below(2) == 0 ? nil : Double(1000 + below(100_000)))
  }
}

/// How long what is chosen takes to read.
private func readingSeconds(
  _ choice: DeliveryChoice, _ chunks: [DeliveryChunk], _ rates: DeliveryRates
) -> Double {
  let bytes = chunks.enumerated().reduce(0) { sum, next in
    sum + (choice.form(of: next.element, at: next.offset)?.readBytes ?? 0)
  }
  return Double(bytes) / (rates.readPerSecond ?? .infinity)
}

/// When the choice is ready, counted by another way than the choice's own: event by event.
private func seconds(
  _ choice: DeliveryChoice, _ chunks: [DeliveryChunk], _ rates: DeliveryRates, bytesAhead: Int = 0
) -> Double {
  let speed = rates.bytesPerSecond ?? .infinity
  var arrivals: [Double] = []
  let reading = readingSeconds(choice, chunks, rates)
  // Nothing travels before all is read, while what is ahead does.
  var sent = max(Double(bytesAhead), reading * speed)
  for (index, chunk) in chunks.enumerated() {
    guard let form = choice.form(of: chunk, at: index) else { break }
    sent += Double(form.byteCount)
    arrivals.append(sent / speed)
  }
  var decoded = 0.0
  for (index, arrival) in arrivals.enumerated() {
    guard let form = choice.form(of: chunks[index], at: index) else { continue }
    let rate =
      form.codec.isTransform ? rates.transformedPerSecond : rates.decodedPerSecond
    let work = form.codec == .raw ? 0 : Double(chunks[index].rawByteCount) / (rate ?? .infinity)
    decoded = (decoded < arrival ? arrival : decoded) + work
  }
  let tokens = chunks.dropFirst(choice.sentCount).reduce(0) { $0 + $1.tokenCount }
  let all = decoded + Double(tokens) / (rates.tokensPerSecond ?? .infinity)
  return max(all, 2 * reading)
}

@Suite("The choice of what is delivered")
struct DeliveryChoiceTests {
  private let rawOnly = DeliveryChunk(
    rawByteCount: 1000, tokenCount: 10, forms: [DeliveryForm(codec: .raw, byteCount: 1000)])
  private let both = DeliveryChunk(
    rawByteCount: 1000, tokenCount: 10,
    forms: [
      DeliveryForm(codec: .raw, byteCount: 1000), DeliveryForm(codec: .small, byteCount: 100),
    ])

  @Test("sends all in the best form when there is time")
  func time() {
    let rates = DeliveryRates(bytesPerSecond: 1000, transformedPerSecond: 1)
    let choice = DeliveryChoice(Array(repeating: both, count: 8), within: 8, rates)
    #expect(choice == .init(Array(repeating: both, count: 8), within: 1e9, rates))
    #expect(choice.sentCount == 8 && choice.bestCount == 8)
  }

  @Test("keeps the best form in front, and shortens from the end")
  func shortens() {
    let chunks = Array(repeating: both, count: 8)
    let rates = DeliveryRates(bytesPerSecond: 1000)
    let choice = DeliveryChoice(chunks, within: 4, rates)
    // Eight at a tenth are .8 s, each best one adds .9: three of them fit 4 s.
    #expect(choice.sentCount == 8 && choice.bestCount == 3)
    let codecs = chunks.indices.map { choice.form(of: chunks[$0], at: $0)?.codec }
    #expect(codecs == [.raw, .raw, .raw, .small, .small, .small, .small, .small])
  }

  @Test("leaves to be computed what cannot arrive, and all behind it")
  func recompute() {
    let chunks = Array(repeating: rawOnly, count: 8)
    let choice = DeliveryChoice(chunks, within: 3.5, DeliveryRates(bytesPerSecond: 1000))
    #expect(choice.sentCount == 3)
    #expect(choice.form(of: rawOnly, at: 2) != nil && choice.form(of: rawOnly, at: 3) == nil)
  }

  @Test("computes more where that is the quicker way, and counts its time")
  func computing() {
    let chunks = Array(repeating: rawOnly, count: 10)
    // A chunk takes 1 s to send and .5 s to compute.
    let rates = DeliveryRates(bytesPerSecond: 1000, tokensPerSecond: 20)
    #expect(DeliveryChoice(chunks, within: 10, rates).sentCount == 10)
    #expect(DeliveryChoice(chunks, within: 7, rates).sentCount == 4)
    #expect(DeliveryChoice(chunks, within: 7, rates).seconds == 7)
    #expect(DeliveryChoice(chunks, within: 1, rates).sentCount == 0, "5 s is the least there is")
    // Slower than sending: then sending all is ready first, however late.
    let slow = DeliveryRates(bytesPerSecond: 1000, tokensPerSecond: 5)
    #expect(DeliveryChoice(chunks, within: 1, slow).sentCount == 10)
  }

  @Test("counts bytes that are sent before")
  func queue() {
    let chunks = Array(repeating: rawOnly, count: 4)
    let rates = DeliveryRates(bytesPerSecond: 1000)
    #expect(DeliveryChoice(chunks, within: 4, rates).sentCount == 4)
    #expect(DeliveryChoice(chunks, within: 4, rates, bytesAhead: 1500).sentCount == 2)
  }

  @Test("sends the shortest of all when nobody knows how fast the connection is")
  func unknownSpeed() {
    let chunks = Array(repeating: both, count: 4)
    let choice = DeliveryChoice(chunks, within: 0, DeliveryRates())
    #expect(choice.sentCount == 4 && choice.bestCount == 0 && choice.seconds == nil)
  }

  @Test("decodes while the next arrives")
  func pipeline() {
    let chunk = DeliveryChunk(
      rawByteCount: 1000, tokenCount: 0, forms: [DeliveryForm(codec: .exact, byteCount: 500)])
    let rates = DeliveryRates(bytesPerSecond: 500, decodedPerSecond: 1000)
    let choice = DeliveryChoice(Array(repeating: chunk, count: 4), within: 5, rates)
    #expect(choice.sentCount == 4 && choice.seconds == 5)
  }

  /// In RAM raw, on disk a tenth as long.
  private let shorterOnDisk = DeliveryChunk(
    rawByteCount: 1000, tokenCount: 10,
    forms: [
      DeliveryForm(codec: .raw, byteCount: 1000),
      DeliveryForm(codec: .small, byteCount: 100, readBytes: 100),
    ])

  @Test("a shorter form on disk is chosen if it is in time with the time to read it")
  func disk() {
    let chunks = Array(repeating: shorterOnDisk, count: 8)
    var rates = DeliveryRates(bytesPerSecond: 1000, readPerSecond: 1000)
    // Five from disk take .5 s to read and .5 s to send, beside three raw ones.
    let choice = DeliveryChoice(chunks, within: 4.01, rates)
    #expect(choice.sentCount == 8 && choice.bestCount == 3)
    rates.readPerSecond = 900
    #expect(DeliveryChoice(chunks, within: 4.01, rates).bestCount == 2)
    rates.readPerSecond = 1
    let slow = DeliveryChoice(chunks, within: 4.01, rates)
    #expect(slow.sentCount == 4 && slow.bestCount == 4, "what RAM has, as far as that goes")
  }

  @Test("reading takes half of the time at most")
  func half() {
    let chunks = Array(repeating: shorterOnDisk, count: 8)
    // All from disk are there after 3.2 s of reading and .8 s of sending.
    let rates = DeliveryRates(bytesPerSecond: 1000, readPerSecond: 250)
    let choice = DeliveryChoice(chunks, within: 4.6, rates)
    #expect(choice.sentCount == 7 && choice.bestCount == 2)
    #expect(DeliveryChoice(chunks, within: 6.41, rates).sentCount == 8)
  }

  @Test("a better form on disk is chosen where there is time to read it")
  func better() {
    let chunk = DeliveryChunk(
      rawByteCount: 1000, tokenCount: 10,
      forms: [
        DeliveryForm(codec: .raw, byteCount: 1000, readBytes: 1000),
        DeliveryForm(codec: .small, byteCount: 100),
      ])
    let chunks = Array(repeating: chunk, count: 4)
    let rates = DeliveryRates(bytesPerSecond: 1000, readPerSecond: 1000)
    #expect(DeliveryChoice(chunks, within: 8, rates).bestCount == 4)
    #expect(DeliveryChoice(chunks, within: 4, rates).bestCount == 1)
    #expect(DeliveryChoice(chunks, within: 1, rates).bestCount == 0)
  }

  @Test("an empty chain is ready at once")
  func empty() {
    let choice = DeliveryChoice([], within: 0, DeliveryRates(bytesPerSecond: 1))
    #expect(choice.sentCount == 0 && choice.seconds == 0)
  }

  @Test("is ready when it says, and by the deadline if anything it tried is", arguments: 1...40)
  func ready(seed: UInt64) {
    var dice = Dice(seed)
    for _ in 0..<30 {
      let chunks = dice.chain(dice.below(12))
      let rates = dice.rates()
      let limit = Double(dice.below(400)) / 100
      let ahead = dice.below(3) * 2000
      let choice = DeliveryChoice(chunks, within: limit, rates, bytesAhead: ahead)
      let counted = seconds(choice, chunks, rates, bytesAhead: ahead)
      #expect(abs((choice.seconds ?? -1) - counted) <= 1e-9 * max(1, counted))
      #expect(choice.sentCount <= chunks.count && choice.bestCount <= choice.sentCount)
      for (index, chunk) in chunks.enumerated() {
        let form = choice.form(of: chunk, at: index)
        #expect((form == nil) == (index >= choice.sentCount), "a prefix, and nothing behind it")
        if let form { #expect(chunk.forms.contains(form), "only what is accepted") }
      }
      let least = DeliveryChoice(chunks, within: -1, rates, bytesAhead: ahead)
      let earliest = least.seconds ?? 0
      if earliest <= limit { #expect(counted <= limit * (1 + 1e-9) + 1e-9) }
      if counted > limit { #expect(counted <= earliest * (1 + 1e-9) + 1e-9) }
    }
  }

  @Test("more time never sends less, nor fewer in their best form", arguments: 1...40)
  func monotoneInTime(seed: UInt64) {
    var dice = Dice(seed)
    for _ in 0..<10 {
      let chunks = dice.chain(1 + dice.below(12))
      let rates = dice.rates()
      var last = (0, 0)
      for step in 0..<60 {
        let choice = DeliveryChoice(chunks, within: Double(step) / 12, rates)
        let brings = (choice.sentCount, choice.bestCount)
        let earliest = DeliveryChoice(chunks, within: -1, rates)
        // Before anything meets the deadline the choice is always the one that is ready first.
        if choice.seconds ?? 0 > Double(step) / 12 { #expect(choice == earliest) }
        #expect(brings >= last || choice == earliest)
        last = brings
      }
    }
  }

  @Test("a faster connection is ready no later, and brings no less in time", arguments: 1...40)
  func monotoneInSpeed(seed: UInt64) {
    var dice = Dice(seed)
    for _ in 0..<10 {
      let chunks = dice.chain(1 + dice.below(12))
      var rates = dice.rates()
      let limit = Double(dice.below(300)) / 100
      var last: DeliveryChoice?
      for step in 1..<40 {
        rates.bytesPerSecond = Double(step * step) * 100
        let choice = DeliveryChoice(chunks, within: limit, rates)
        if let last {
          let lastSeconds = last.seconds ?? 0
          let isMet = (choice.seconds ?? 0) <= limit
          if lastSeconds <= limit {
            #expect(isMet, "what was in time stays so")
            #expect((choice.sentCount, choice.bestCount) >= (last.sentCount, last.bestCount))
          } else {
            #expect((choice.seconds ?? 0) <= lastSeconds || isMet)
          }
        }
        last = choice
      }
    }
  }

  @Test("without decoding no other choice of forms sends more", arguments: 1...30)
  func noneSendsMore(seed: UInt64) {
    var dice = Dice(seed)
    let chunks = dice.chain(7)
    let rates = DeliveryRates(bytesPerSecond: 1000)
    let limit = Double(dice.below(2500)) / 100
    let choice = DeliveryChoice(chunks, within: limit, rates)
    var most = 0
    for number in 0..<(1 << chunks.count) {
      var bytes = 0
      for (index, chunk) in chunks.enumerated() {
        let isBest = number >> index & 1 == 1
        bytes += (isBest ? chunk.forms[0] : chunk.forms[chunk.forms.count - 1]).byteCount
        guard Double(bytes) / 1000 <= limit else { break }
        most = max(most, index + 1)
      }
    }
    #expect(choice.sentCount == most)
  }

  @Test("long chains are tried at few places, and still in time")
  func longChain() {
    let chunks = Array(repeating: both, count: 4096)
    let rates = DeliveryRates(bytesPerSecond: 1_000_000)
    let choice = DeliveryChoice(chunks, within: 2, rates)
    #expect(choice.sentCount == 4096)
    #expect(choice.bestCount == 1728, "64 chunks apart: 1728 best ones take 1.96 s")
    #expect((choice.seconds ?? 9) <= 2)
  }
}
