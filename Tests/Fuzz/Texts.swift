import KDNCore

// Texts of tokens and a phrase in them: an encoding that is taken is the only one of its texts, and
// what is found are tokens that hold the phrase, and as few as can. Input: u8 occurrence (255: all,
// 0: the only one), u8 bytes of the phrase, the phrase, then the object.

private func holds(_ bytes: ArraySlice<UInt8>, _ phrase: [UInt8]) -> Bool {
  bytes.indices.contains { bytes[$0...].starts(with: phrase) }
}

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  let number = Int(input.byte())
  let phrase = String(decoding: input.take(Int(input.byte())), as: UTF8.self)
  let encoding = input.rest()
  do {
    let texts = try TokenTexts(decoding: encoding)
    precondition(texts.encoding == encoding, "texts have one encoding")
    let choice: PhraseChoice = number == 0 ? .only : number == 255 ? .all : .number(number)
    let spans = try texts.spans(of: phrase, choice)
    precondition(spans.count > 0 && spans.end <= texts.ends.count)
    for span in spans.ranges {
      let start = span.lowerBound == 0 ? 0 : texts.ends[span.lowerBound - 1]
      let end = texts.ends[span.upperBound - 1]
      precondition(holds(texts.text[start..<end], Array(phrase.utf8)), "its tokens hold it")
      // Neither its first nor its last token could be left out.
      precondition(texts.ends[span.lowerBound] > start)
      precondition(span.count == 1 || texts.ends[span.upperBound - 2] < end)
    }
  } catch {
    precondition(!error.field.isEmpty, "a fault names its field")
  }
  return 0
}
