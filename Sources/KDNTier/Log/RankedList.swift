/// Something with a place among others of its kind.
protocol Ranked: Sendable {
  associatedtype Rank: Comparable & Sendable
  var rank: Rank { get }
}

/// Elements in the order of their ranks, no two alike.
///
/// They are in pieces so small that to put one in or take one out moves little, and what comes
/// last, as most does, fills piece after piece.
struct RankedList<Element: Ranked>: Sendable {
  private var pieces: [[Element]] = []
  private(set) var count = 0

  private static var pieceMax: Int { 128 }

  /// The one of the lowest rank.
  var first: Element? { pieces.first?.first }

  /// The one of this rank.
  subscript(rank: Element.Rank) -> Element? {
    guard let piece = piece(of: rank) else { return nil }
    let place = Self.place(of: rank, in: pieces[piece])
    guard place < pieces[piece].count, pieces[piece][place].rank == rank else { return nil }
    return pieces[piece][place]
  }

  /// Puts an element in; none of its rank may be there.
  mutating func insert(_ element: Element) {
    precondition(self[element.rank] == nil, "two of the same rank")
    count += 1
    guard let piece = piece(of: element.rank) else {
      guard !pieces.isEmpty, pieces[0].count < Self.pieceMax else {
        return pieces.insert([element], at: 0)
      }
      return pieces[0].insert(element, at: 0)
    }
    let place = Self.place(of: element.rank, in: pieces[piece])
    guard pieces[piece].count == Self.pieceMax else {
      return pieces[piece].insert(element, at: place)
    }
    // What comes in order leaves full pieces behind; any other divides one.
    guard place < Self.pieceMax else { return pieces.insert([element], at: piece + 1) }
    let upper = Array(pieces[piece][(Self.pieceMax / 2)...])
    pieces[piece].removeSubrange((Self.pieceMax / 2)...)
    pieces.insert(upper, at: piece + 1)
    if place <= Self.pieceMax / 2 {
      pieces[piece].insert(element, at: place)
    } else {
      pieces[piece + 1].insert(element, at: place - Self.pieceMax / 2)
    }
  }

  /// Takes out the element of this rank, which must be there.
  mutating func remove(_ rank: Element.Rank) {
    guard let piece = piece(of: rank) else { preconditionFailure("nothing of this rank") }
    let place = Self.place(of: rank, in: pieces[piece])
    precondition(
      place < pieces[piece].count && pieces[piece][place].rank == rank, "nothing of this rank")
    pieces[piece].remove(at: place)
    count -= 1
    if pieces[piece].isEmpty {
      pieces.remove(at: piece)
    } else if piece + 1 < pieces.count,
      pieces[piece].count + pieces[piece + 1].count <= Self.pieceMax / 4
    {
      pieces[piece] += pieces[piece + 1]
      pieces.remove(at: piece + 1)
    }
  }

  /// Calls `body` with elements of a rank above `rank`, or all, in order, until it gives false.
  func visit(after rank: Element.Rank?, _ body: (Element) -> Bool) {
    var piece = rank.flatMap { self.piece(of: $0) } ?? 0
    guard piece < pieces.count else { return }
    var place = 0
    if let rank {
      place = Self.place(of: rank, in: pieces[piece])
      if place < pieces[piece].count, pieces[piece][place].rank == rank { place += 1 }
    }
    while piece < pieces.count {
      while place < pieces[piece].count {
        guard body(pieces[piece][place]) else { return }
        place += 1
      }
      piece += 1
      place = 0
    }
  }

  /// The last piece that begins at or before a rank; nil if all begin behind it.
  private func piece(of rank: Element.Rank) -> Int? {
    var (low, high) = (0, pieces.count)
    while low < high {
      let middle = (low + high) / 2
      if pieces[middle][0].rank <= rank { low = middle + 1 } else { high = middle }
    }
    return low > 0 ? low - 1 : nil
  }

  /// Where a rank is in a piece, or would be.
  private static func place(of rank: Element.Rank, in piece: [Element]) -> Int {
    var (low, high) = (0, piece.count)
    while low < high {
      let middle = (low + high) / 2
      if piece[middle].rank < rank { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
