/// A command as people type it: words in one line, with quotes where they hold spaces.
enum RESPInlineLine {
  /// The words of a line without its line feed; nil if a quote is not closed, or no space follows.
  ///
  /// Inside `"…"` there are `\n \r \t \b \a \\ \"` and `\xHH`; inside `'…'` only `\'`.
  static func words(of line: ArraySlice<UInt8>) -> [[UInt8]]? {
    var words: [[UInt8]] = []
    var rest = line
    while true {
      rest = rest.drop(while: RESPByte.isSpace)
      guard !rest.isEmpty else { return words }
      guard let word = word(&rest) else { return nil }
      words.append(word)
    }
  }

  private static func word(_ rest: inout ArraySlice<UInt8>) -> [UInt8]? {
    var word: [UInt8] = []
    while let byte = rest.first, !isSeparator(byte) {
      rest.removeFirst()
      switch byte {
      case UInt8(ascii: "\""):
        return quoted(&rest, into: &word) ? word : nil
      case UInt8(ascii: "'"):
        return singlyQuoted(&rest, into: &word) ? word : nil
      default: word.append(byte)
      }
    }
    return word
  }

  private static func isSeparator(_ byte: UInt8) -> Bool {
    byte == RESPByte.space || byte == UInt8(ascii: "\t") || byte == RESPByte.carriageReturn
  }

  /// Takes what is inside `"…"` and the closing quote; false if there is none.
  private static func quoted(_ rest: inout ArraySlice<UInt8>, into word: inout [UInt8]) -> Bool {
    while let byte = rest.popFirst() {
      switch byte {
      case UInt8(ascii: "\""): return endsWord(rest)
      case UInt8(ascii: "\\"):
        if let value = hexadecimal(&rest) {
          word.append(value)
        } else if let escaped = rest.popFirst() {
          word.append(meaning(of: escaped))
        } else {
          return false
        }
      default: word.append(byte)
      }
    }
    return false
  }

  private static func singlyQuoted(
    _ rest: inout ArraySlice<UInt8>, into word: inout [UInt8]
  ) -> Bool {
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "'") { return endsWord(rest) }
      if byte == UInt8(ascii: "\\"), rest.first == UInt8(ascii: "'") {
        rest.removeFirst()
        word.append(UInt8(ascii: "'"))
      } else {
        word.append(byte)
      }
    }
    return false
  }

  private static func endsWord(_ rest: ArraySlice<UInt8>) -> Bool {
    rest.first.map(RESPByte.isSpace) ?? true
  }

  /// Takes `xHH` if that is next.
  private static func hexadecimal(_ rest: inout ArraySlice<UInt8>) -> UInt8? {
    let digits = Array(rest.prefix(3))
    guard digits.count == 3, digits[0] == UInt8(ascii: "x"),
      let high = RESPByte.hexadecimalValue(digits[1]),
      let low = RESPByte.hexadecimalValue(digits[2])
    else { return nil }
    rest.removeFirst(3)
    return high << 4 | low
  }

  private static func meaning(of escaped: UInt8) -> UInt8 {
    switch escaped {
    case UInt8(ascii: "n"): 10
    case UInt8(ascii: "r"): 13
    case UInt8(ascii: "t"): 9
    case UInt8(ascii: "b"): 8
    case UInt8(ascii: "a"): 7
    default: escaped
    }
  }
}
