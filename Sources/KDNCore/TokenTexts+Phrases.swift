/// Which occurrences of a phrase are meant.
package enum PhraseChoice: Hashable, Sendable {
  /// The one that there is.
  case only
  /// Each of them.
  case all
  /// This one, counted from 1.
  case number(Int)
}

extension TokenTexts {
  /// Longest phrase, in bytes of UTF-8.
  package static let phraseBytesMax = 4096

  /// The tokens that stand for any byte of a phrase, at the occurrences that are meant.
  ///
  /// Occurrences are counted from the front and do not overlap; of letters and spaces each must be
  /// as in the text.
  ///
  /// - Throws: a fault that names `text` for a phrase that is empty or too long, that does not
  ///   occur (value 0), or occurs so often (value) that it is not clear which one is meant, and
  ///   `occurrence` for a number beyond those.
  package func spans(
    of phrase: String, _ choice: PhraseChoice = .only
  ) throws(FieldFault) -> TokenSpans {
    let wanted = Array(phrase.utf8)
    guard (1...Self.phraseBytesMax).contains(wanted.count) else {
      throw FieldFault(
        "text", value: wanted.count, limit: Self.phraseBytesMax, "must be 1 to 4096 bytes")
    }
    var count = 0
    var ranges: [Range<Int>] = []
    visit(wanted) { start in
      count += 1
      switch choice {
      case .only where count == 1, .all: break
      case .number(let number) where count == number: break
      default: return
      }
      let tokens = self.tokens(over: start..<start + wanted.count)
      // Two occurrences may share a token, or follow one another.
      if let last = ranges.last, last.upperBound >= tokens.lowerBound {
        ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, tokens.upperBound)
      } else {
        ranges.append(tokens)
      }
    }
    guard count > 0 else {
      throw FieldFault("text", value: 0, limit: 1, "does not occur in the document")
    }
    switch choice {
    case .only where count > 1:
      throw FieldFault(
        "text", value: count, limit: 1, "occurs more than once: say which occurrence, or all")
    case .number(let number) where !(1...count).contains(number):
      throw FieldFault("occurrence", value: number, limit: count, "there are not so many")
    default: return try TokenSpans(ranges, tokenCount: ends.count)
    }
  }

  /// The tokens that stand for a byte of `bytes`, which is not empty and inside the text.
  private func tokens(over bytes: Range<Int>) -> Range<Int> {
    let first = firstToken { ends[$0] > bytes.lowerBound }
    let last = firstToken { ends[$0] >= bytes.upperBound }
    return first..<last + 1
  }

  /// The first token of which `isBehind` holds; it must hold of all behind it.
  private func firstToken(_ isBehind: (Int) -> Bool) -> Int {
    var (low, high) = (0, ends.count)
    while low < high {
      let middle = (low + high) / 2
      if isBehind(middle) { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// Calls `found` with the offset of each occurrence; takes time linear in both lengths, whatever
  /// they are (Knuth, Morris, Pratt).
  private func visit(_ wanted: [UInt8], _ found: (Int) -> Void) {
    var borders = [0]
    for byte in wanted.dropFirst() {
      var length = borders[borders.count - 1]
      while length > 0, wanted[length] != byte { length = borders[length - 1] }
      borders.append(wanted[length] == byte ? length + 1 : 0)
    }
    var matched = 0
    for (offset, byte) in text.enumerated() {
      while matched > 0, wanted[matched] != byte { matched = borders[matched - 1] }
      if wanted[matched] == byte { matched += 1 }
      guard matched == wanted.count else { continue }
      found(offset + 1 - matched)
      matched = 0
    }
  }
}
