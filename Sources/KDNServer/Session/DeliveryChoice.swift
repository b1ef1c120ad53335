internal import KDNCore

/// A form in which a chunk can be sent.
struct DeliveryForm: Equatable, Sendable {
  /// How its bytes are encoded.
  let codec: PayloadCodec
  /// Bytes to be sent.
  let byteCount: Int
  /// Bytes to be read from disk before.
  let readBytes: Int

  /// Gathers what is known; `readBytes` is 0 for what is in RAM.
  init(codec: PayloadCodec, byteCount: Int, readBytes: Int = 0) {
    self.codec = codec
    self.byteCount = byteCount
    self.readBytes = readBytes
  }
}

/// One chunk of a chain that could be sent.
struct DeliveryChunk: Equatable, Sendable {
  /// Bytes that decoding gives.
  let rawByteCount: Int
  /// Tokens that computing it again takes.
  let tokenCount: Int
  /// Forms that are there and accepted, the best first and the shortest last; at least one.
  let forms: [DeliveryForm]

  /// Gathers what is known; `forms` must not be empty.
  init(rawByteCount: Int, tokenCount: Int, forms: [DeliveryForm]) {
    precondition(!forms.isEmpty, "a chunk that is here has a form")
    self.rawByteCount = rawByteCount
    self.tokenCount = tokenCount
    self.forms = forms
  }
}

/// How fast bytes travel, are decoded and are computed again.
struct DeliveryRates: Equatable, Sendable {
  /// Bytes a second of the connection; nil if nobody knows.
  var bytesPerSecond: Double?
  /// Decoded bytes a second without a transform; nil if decoding takes no time.
  var decodedPerSecond: Double?
  /// Decoded bytes a second of a transform; nil if decoding takes no time.
  var transformedPerSecond: Double?
  /// Tokens a second that the client computes; nil if computing again does not count.
  var tokensPerSecond: Double?
  /// Bytes a second that come from disk; nil if reading takes no time.
  var readPerSecond: Double?

  /// Seconds until `chunk` in `form` is decoded, once it is there.
  fileprivate func decoding(_ chunk: DeliveryChunk, _ form: DeliveryForm) -> Double {
    guard form.codec != .raw else { return 0 }
    let rate = form.codec.isTransform ? transformedPerSecond : decodedPerSecond
    return rate.map { Double(chunk.rawByteCount) / $0 } ?? 0
  }

  /// Seconds until `form` is in RAM.
  fileprivate func reading(_ form: DeliveryForm) -> Double {
    readPerSecond.map { Double(form.readBytes) / $0 } ?? 0
  }
}

/// Which chunks of a chain are sent, in which form, so that all is ready by a deadline.
///
/// What is on disk is read before anything is sent. Chunks are sent one after the other, each is
/// decoded while the next arrives, and what is not sent is computed behind what was: KV is of use
/// only behind its whole prefix, so the chunks sent are the first ones. Of those the front ones
/// keep their best form, for what stands first is attended to most, and the others have their
/// shortest.
struct DeliveryChoice: Equatable, Sendable {
  /// How many chunks are sent, from the front; the others are to be computed again.
  let sentCount: Int
  /// How many of them, from the front, in their best form; the others in their shortest.
  let bestCount: Int
  /// Seconds until all is ready, at least twice those of reading; nil if the connection's speed is
  /// unknown.
  let seconds: Double?

  /// Where the best forms may end is tried at this many places at most: the choice is made on a
  /// connection's loop.
  static let bestCountsMax = 64

  /// What is done with the chunk of this index; nil: it is to be computed again.
  func form(of chunk: DeliveryChunk, at index: Int) -> DeliveryForm? {
    guard index < sentCount else { return nil }
    return index < bestCount ? chunk.forms.first : chunk.forms.last
  }

  /// Chooses for `chunks`, of which nothing is sent before `bytesAhead` are: as few as possible to
  /// be computed again, then as many as possible in their best form, so that all is ready in
  /// `seconds`, of which reading takes half at most; what is ready first if nothing is by then.
  ///
  /// The tried choices depend on nothing but the number of chunks, and each is ready the sooner the
  /// faster the connection is: so more time or more speed never brings less, as long as the
  /// deadline can be met.
  init(
    _ chunks: [DeliveryChunk], within seconds: Double, _ rates: DeliveryRates, bytesAhead: Int = 0
  ) {
    guard let speed = rates.bytesPerSecond, speed > 0 else {
      self.init(sentCount: chunks.count, bestCount: 0, seconds: nil)
      return
    }
    var search = Search(within: seconds)
    let line = Line(
      chunks, rates, speed: speed, start: Double(bytesAhead) / speed)
    line.tryAll(bestCount: chunks.count, &search)
    guard search.met?.sentCount != chunks.count else {
      self = search.choice
      return
    }
    let step = max(1, (chunks.count + Self.bestCountsMax - 1) / Self.bestCountsMax)
    for bestCount in stride(from: 0, to: chunks.count, by: step) {
      line.tryAll(bestCount: bestCount, &search)
    }
    self = search.choice
  }

  private init(sentCount: Int, bestCount: Int, seconds: Double?) {
    self.sentCount = sentCount
    self.bestCount = bestCount
    self.seconds = seconds
  }
}

extension DeliveryChoice {
  /// The best choice among those tried so far.
  fileprivate struct Search {
    let limit: Double
    /// The best that is ready in time.
    var met: DeliveryChoice?
    /// The one that is ready first.
    var first: DeliveryChoice?

    init(within seconds: Double) { limit = seconds }

    var choice: DeliveryChoice {
      met ?? first ?? DeliveryChoice(sentCount: 0, bestCount: 0, seconds: 0)
    }

    mutating func note(sentCount: Int, bestCount: Int, seconds: Double) {
      let choice = DeliveryChoice(
        sentCount: sentCount, bestCount: min(sentCount, bestCount), seconds: seconds)
      if seconds <= limit, met.map(choice.brings(moreThan:)) ?? true { met = choice }
      guard let best = first, let least = best.seconds else {
        first = choice
        return
      }
      if seconds < least || (seconds == least && choice.brings(moreThan: best)) { first = choice }
    }
  }

  fileprivate func brings(moreThan other: DeliveryChoice) -> Bool {
    (sentCount, bestCount) > (other.sentCount, other.bestCount)
  }

  /// A connection that chunks travel over, and the decoder behind it.
  fileprivate struct Line {
    private struct Step {
      let bestTravel: Double
      let bestDecoding: Double
      let shortTravel: Double
      let shortDecoding: Double
      let bestReading: Double
      let shortReading: Double
      /// Seconds to compute all chunks behind this one.
      let rest: Double
    }

    /// A request waits for reads no longer than for half of its time.
    private static let readingShare = 2.0

    private let start: Double
    private let computing: Double
    private let steps: [Step]

    init(_ chunks: [DeliveryChunk], _ rates: DeliveryRates, speed: Double, start: Double) {
      self.start = start
      var tokens = chunks.reduce(0) { $0 + $1.tokenCount }
      let perToken = rates.tokensPerSecond.map { 1 / $0 } ?? 0
      computing = Double(tokens) * perToken
      var steps: [Step] = []
      steps.reserveCapacity(chunks.count)
      for chunk in chunks {
        tokens -= chunk.tokenCount
        let best = chunk.forms[0]
        let short = chunk.forms[chunk.forms.count - 1]
        steps.append(
          Step(
            bestTravel: Double(best.byteCount) / speed,
            bestDecoding: rates.decoding(chunk, best),
            shortTravel: Double(short.byteCount) / speed,
            shortDecoding: rates.decoding(chunk, short),
            bestReading: rates.reading(best), shortReading: rates.reading(short),
            rest: Double(tokens) * perToken))
      }
      self.steps = steps
    }

    /// Tries to send every number of chunks, the first `bestCount` in their best form.
    func tryAll(bestCount: Int, _ search: inout Search) {
      search.note(sentCount: 0, bestCount: 0, seconds: computing)
      var arrived = 0.0
      var decoded = 0.0
      var reading = 0.0
      for (index, step) in steps.enumerated() {
        let isBest = index < bestCount
        reading += isBest ? step.bestReading : step.shortReading
        arrived += isBest ? step.bestTravel : step.shortTravel
        decoded =
          max(arrived, decoded) + (isBest ? step.bestDecoding : step.shortDecoding)
        // The first byte leaves when the last one is read, and what was ahead of it is gone.
        let seconds = max(start, reading) + decoded + step.rest
        search.note(
          sentCount: index + 1, bestCount: bestCount,
          seconds: max(seconds, reading * Self.readingShare))
      }
    }
  }
}
