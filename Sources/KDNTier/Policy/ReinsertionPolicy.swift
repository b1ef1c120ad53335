/// Keeps what was used since it was last written and what several chains share, best first.
///
/// FIFO with reinsertion gives each record that was used another turn, as CLOCK does. A suffix is
/// worthless without its prefix: so more uses go before fewer, among equals the front of a chain
/// before its end, and what builds on a record that does not survive has no turn, however often it
/// was used.
package struct ReinsertionPolicy: ReclaimPolicy {
  /// Uses in one turn from which a record is hot.
  package let hotUses: UInt32
  /// Chunks that build on a record from which it is shared.
  package let sharedChildren: Int

  /// Creates the policy; `Tests/Benchmarks/replay.md` tells how the defaults were found.
  package init(hotUses: UInt32 = 1, sharedChildren: Int = 2) {
    self.hotUses = hotUses
    self.sharedChildren = sharedChildren
  }

  package func survivors(of records: [ReclaimFacts], bytesMax: Int) -> [Bool] {
    var survives = records.map(\.isBound)
    var bytesLeft = bytesMax
    for record in records where record.isBound { bytesLeft -= record.byteCount }
    for place in candidates(in: records) where records[place].byteCount <= bytesLeft {
      if let parent = records[place].parent, !survives[parent] { continue }
      survives[place] = true
      bytesLeft -= records[place].byteCount
    }
    return survives
  }

  /// Places of those that survive if there is room, best first and each behind its parent.
  private func candidates(in records: [ReclaimFacts]) -> [Int] {
    var candidates: [Int] = []
    // What a record's chain is worth up to it: no more than any part before it; nil if it is cut.
    var worths: [UInt32?] = Array(repeating: nil, count: records.count)
    let fronts = records.indices.sorted { records[$0].firstToken < records[$1].firstToken }
    for place in fronts where !records[place].isOrphan {
      let record = records[place]
      let isKept = record.uses >= hotUses || record.children >= sharedChildren
      guard isKept || record.isBound else { continue }
      let own = record.isBound ? UInt32.max : record.uses
      if let parent = record.parent {
        guard let above = worths[parent] else { continue }
        worths[place] = min(own, above)
      } else {
        worths[place] = own
      }
      if !record.isBound { candidates.append(place) }
    }
    func rank(_ place: Int) -> (UInt32, Int, Int) {
      (UInt32.max - (worths[place] ?? 0), records[place].firstToken, place)
    }
    return candidates.sorted { rank($0) < rank($1) }
  }
}
