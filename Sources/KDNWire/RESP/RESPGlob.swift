/// A pattern of MATCH or CONFIG GET: `*`, `?`, `[a-z]`, `[^a]` and `\` as Redis has them.
package struct RESPGlob: Sendable {
  private enum Piece: Equatable {
    case anything
    case anyByte
    case byte(UInt8)
    case oneOf([ClosedRange<UInt8>], isNegated: Bool)
  }

  private let pieces: [Piece]
  private let ignoresCase: Bool

  /// Reads a pattern; every sequence of bytes is one.
  package init(_ pattern: [UInt8], ignoringCase: Bool = false) {
    var pieces: [Piece] = []
    var rest = pattern[...]
    while let byte = rest.popFirst() {
      switch byte {
      case UInt8(ascii: "*"):
        if pieces.last != .anything { pieces.append(.anything) }
      case UInt8(ascii: "?"): pieces.append(.anyByte)
      case UInt8(ascii: "["): pieces.append(Self.set(&rest))
      case UInt8(ascii: "\\"): pieces.append(.byte(rest.popFirst() ?? byte))
      default: pieces.append(.byte(byte))
      }
    }
    self.pieces = pieces
    ignoresCase = ignoringCase
  }

  /// Whether the whole of `name` matches; takes time of at most pattern times name.
  package func matches(_ name: [UInt8]) -> Bool {
    var piece = 0
    var offset = 0
    // Where to go on if what follows the last `*` does not fit: it then takes one byte more. Only
    // the last one counts, so the work is never more than the product of both lengths.
    var star: (piece: Int, offset: Int)?
    while offset < name.count {
      if piece < pieces.count, pieces[piece] == .anything {
        star = (piece, offset)
        piece += 1
      } else if piece < pieces.count, fits(pieces[piece], name[offset]) {
        piece += 1
        offset += 1
      } else if let (last, taken) = star {
        star = (last, taken + 1)
        piece = last + 1
        offset = taken + 1
      } else {
        return false
      }
    }
    return pieces[piece...].allSatisfy { $0 == .anything }
  }

  private func fits(_ piece: Piece, _ byte: UInt8) -> Bool {
    switch piece {
    case .anything, .anyByte: true
    case .byte(let wanted):
      ignoresCase
        ? RESPByte.uppercased(wanted) == RESPByte.uppercased(byte) : wanted == byte
    case .oneOf(let ranges, let isNegated):
      ranges.contains { $0.contains(byte) } != isNegated
    }
  }

  /// The rest of a set behind its bracket; one that is not closed goes to the end.
  private static func set(_ rest: inout ArraySlice<UInt8>) -> Piece {
    var ranges: [ClosedRange<UInt8>] = []
    let isNegated = rest.first == UInt8(ascii: "^")
    if isNegated { rest.removeFirst() }
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "]") { break }
      if byte == UInt8(ascii: "\\"), let escaped = rest.popFirst() {
        ranges.append(escaped...escaped)
      } else if rest.count >= 2, rest.first == UInt8(ascii: "-") {
        rest.removeFirst()
        let end = rest.removeFirst()
        ranges.append(min(byte, end)...max(byte, end))
      } else {
        ranges.append(byte...byte)
      }
    }
    return .oneOf(ranges, isNegated: isNegated)
  }
}
