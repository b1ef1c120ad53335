package import KDNCore

/// A page of a tenant's objects in both tiers.
///
/// An object that stays in one of the tiers while the pages are asked for is never missing; one
/// that comes to RAM or leaves it meanwhile may be listed twice.
package struct ObjectListing: Equatable, Sendable {
  /// One object.
  package struct Item: Equatable, Sendable {
    /// The full name.
    package var key: ObjectKey
    /// Length in bytes.
    package var byteCount: Int
    /// How many tokens; 0 for an opaque object.
    package var tokenCount: Int
    /// Position of the first token in its chain.
    package var firstToken: Int
    /// How often it was used in the tier where it was found first.
    package var uses: UInt64
    /// Whether RAM has it.
    package var isInRAM: Bool
    /// Whether the slower tier has it.
    package var isOnDisk: Bool
    /// Whether it is pinned in a tier.
    package var isPinned: Bool
    /// Milliseconds of its TTL that are left; nil without one.
    package var ttlMilliseconds: UInt64?
  }

  /// The objects.
  package var objects: [Item] = []
  /// Names the next page; nil after the last.
  ///
  /// A page may be short, even empty, before the last.
  package var next: String?
}

/// Where a listing goes on.
struct ObjectCursor: Equatable, Sendable {
  /// The part of the listing that is under way.
  enum Place: Equatable, Sendable {
    /// RAM, from a slot on.
    case ram(slot: Int)
    /// The slower tier, after what has this number; nil for its beginning.
    case below(after: UInt64?)
  }

  /// Tells the process from others, whose slots are other ones.
  var run: UInt32
  /// How many objects had come to RAM when the listing began.
  var arrivals: UInt64
  var place: Place

  init(run: UInt32, arrivals: UInt64, place: Place) {
    self.run = run
    self.arrivals = arrivals
    self.place = place
  }

  /// Reads a cursor's text; any text does no more harm than to list the wrong page.
  ///
  /// - Throws: a fault that names `cursor` if it is none, or was given by another run.
  init(_ text: String, run: UInt32) throws(FieldFault) {
    let fields = text.split(separator: ".", omittingEmptySubsequences: false)
    guard fields.count == 4, let given = UInt32(fields[1], radix: 16),
      let arrivals = UInt64(fields[2], radix: 16)
    else { throw Self.fault("is no cursor") }
    guard given == run else { throw Self.fault("is of another run of the daemon") }
    self.run = run
    self.arrivals = arrivals
    switch (fields[0], UInt64(fields[3], radix: 16)) {
    case ("r", let slot?): place = .ram(slot: Int(clamping: slot))
    case ("d", let number?): place = .below(after: number)
    case ("d", nil) where fields[3] == "-": place = .below(after: nil)
    default: throw Self.fault("is no cursor")
    }
  }

  var text: String {
    let start = "\(String(run, radix: 16)).\(String(arrivals, radix: 16))"
    return switch place {
    case .ram(let slot): "r.\(start).\(String(slot, radix: 16))"
    case .below(nil): "d.\(start).-"
    case .below(let number?): "d.\(start).\(String(number, radix: 16))"
    }
  }

  private static func fault(_ problem: String) -> FieldFault {
    FieldFault("cursor", value: 0, limit: 0, problem)
  }
}
