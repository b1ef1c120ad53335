import KDNCore
import KDNTier

/// A tier does something else than it promised.
struct DiskDifference: Error, CustomStringConvertible {
  let description: String
}

/// What a disk tier may show after all that was done to it, said simply: a list of all that was
/// ever written under each name.
struct DiskModel {
  typealias Name = DiskUniverse.Name

  /// What a request to drop an object came to.
  enum Purge {
    case none
    /// It was asked for, and never acknowledged: either is right.
    case inDoubt
    case acknowledged
  }

  /// One writing of an object.
  final class Copy {
    let facts: ObjectFacts
    let content: DiskContent
    /// The tier said that it survives a loss of power.
    var isPromised = false
    /// It said so to who wrote it, who had registered its layout before.
    var isAcknowledged = false
    /// The tier said in this life that it is there.
    var isReadable = false
    var purge = Purge.none
    /// Its time was over once; a wall clock set back need not bring it back.
    var hasExpired = false
    /// A device has altered what may be its bytes.
    var isDamaged = false
    /// Forms that the tier may have of it, in the order in which it was given them.
    private(set) var forms: [StoredForm?] = [nil]
    /// The bytes of every form that it ever was given, besides those that were stored.
    private var contents: [StoredForm: DiskContent] = [:]

    init(_ facts: ObjectFacts, _ content: DiskContent) {
      self.facts = facts
      self.content = content
    }

    /// Whether it must be there, if nothing excuses the tier.
    var isRequired: Bool { (isPromised || isReadable) && purge == .none && !hasExpired }

    /// Notes a form that the tier is given, and may have from now on.
    func add(_ form: StoredForm?, _ content: DiskContent?) {
      forms.append(form)
      if let form { contents[form] = content }
    }

    /// The tier has a form: what it was given before that is over.
    func settle(_ form: StoredForm?) {
      guard let place = forms.lastIndex(of: form) else { return }
      forms.removeFirst(place)
    }

    /// The bytes of a form that it was given; nil if it was not.
    func content(of form: StoredForm?) -> DiskContent? {
      guard let form else { return content }
      return contents[form]
    }

    func isLike(_ held: HeldFacts) -> Bool {
      held.byteCount == facts.byteCount && held.checksum == facts.checksum
    }
  }

  /// Counts what is missed; apart, for `excuse` looks into the model.
  final class Tally {
    /// Copies that may be missed only because something excuses it.
    var excused = 0
  }

  /// What is known of a tenant's generation.
  struct Generation {
    /// The last one that the tier said to be durable.
    var acknowledged: UInt64 = 0
    /// The last one that was asked for.
    var asked: UInt64 = 0
  }

  private(set) var copies: [Name: [Copy]] = [:]
  let tally = Tally()
  var generations: [Generation]
  /// Layouts that must be known, and those that may be.
  var layoutsKept: [Set<LayoutID>]
  var layoutsAsked: [Set<LayoutID>]
  /// Pins that must be in force until then by the wall clock.
  var pins: [Name: UInt64] = [:]
  /// Those of them that a crash does not end, until then.
  var pinsKept: [Name: UInt64] = [:]
  /// Pins that may be, until then.
  var pinsInDoubt: [Name: UInt64] = [:]
  /// Whether a record that was replaced may be found again: the new one was dropped.
  var mayFallBack = false
  /// Whether a copy may be gone that should be there: its device failed, its room was needed.
  var excuse: (Name, Copy) -> Bool = { _, _ in false }

  init(tenants: Int) {
    generations = Array(repeating: Generation(), count: tenants)
    layoutsKept = Array(repeating: [], count: tenants)
    layoutsAsked = Array(repeating: [], count: tenants)
  }

  // MARK: What was done

  mutating func add(_ copy: Copy, _ name: Name) { copies[name, default: []].append(copy) }

  /// The tier refused it before anything was written.
  mutating func forget(_ copy: Copy, _ name: Name) { copies[name]?.removeAll { $0 === copy } }

  /// Those of the copies that a purge asked for now drops.
  func copies(in tenant: Int, where isMeant: (Name, Copy) -> Bool) -> [Copy] {
    copies.flatMap { name, list in
      name.tenant != tenant ? [] : list.filter { $0.purge != .acknowledged && isMeant(name, $0) }
    }
  }

  /// Ends all that time has ended by `now`, wall clock.
  func expire(_ now: UInt64) {
    for copy in copies.values.joined()
    where !copy.hasExpired && copy.facts.ttlLeft(atWallMilliseconds: now) == 0 {
      copy.hasExpired = true
    }
  }

  /// All that was acknowledged survives: the tier was closed.
  func promiseAll() {
    for copy in copies.values.joined() where copy.isReadable { copy.isPromised = true }
  }

  /// A life ended: what was not promised may be gone.
  mutating func endLife(isClosed: Bool) {
    for copy in copies.values.joined() { copy.isReadable = false }
    guard !isClosed else { return }
    pinsInDoubt.merge(pins) { max($0, $1) }
    // A pin is worth nothing without its object.
    pins = pinsKept.filter { name, _ in copies[name]?.contains { $0.isPromised } == true }
    pinsKept = pins
  }

  /// Whether a pin is known no one can tell any more.
  mutating func doubtPin(_ name: Name) {
    pinsKept[name] = nil
    if let end = pins.removeValue(forKey: name) { pinsInDoubt[name] = end }
  }

  // MARK: What is found

  /// Copies under `name` that could be found.
  func candidates(_ name: Name) -> [Copy] {
    let list = (copies[name] ?? []).filter { $0.purge != .acknowledged }
    // What came before a copy that must be there has been replaced.
    guard let first = list.lastIndex(where: { $0.isRequired && !excuse(name, $0) }) else {
      return list
    }
    return Array(list[first...])
  }

  /// Takes what the tier found under a name, once it is ready.
  func found(_ finding: TierFinding, _ name: Name, now: UInt64) throws -> Copy? {
    switch finding {
    case .notReady: throw DiskDifference(description: "not ready although it is: \(name)")
    case .absent(let cause):
      try missed(name, cause)
      return nil
    case .held(let facts):
      guard let copy = candidates(name).last(where: { $0.isLike(facts) }) else {
        throw DiskDifference(description: "found what must not be there: \(history(name, facts))")
      }
      guard copy.facts.ttlLeft(atWallMilliseconds: now) != 0 else {
        throw DiskDifference(description: "found although its time is over: \(name)")
      }
      guard copy.content(of: facts.form) != nil else {
        throw DiskDifference(description: "found in a form that never was given: \(name) \(facts)")
      }
      guard copy.forms.contains(facts.form) || mayFallBack || excuse(name, copy) else {
        throw DiskDifference(
          description: "found in a form that was replaced: \(name) \(facts), not \(copy.forms)")
      }
      if facts.isDurable, copy.purge == .none { copy.isPromised = true }
      return copy
    }
  }

  /// Takes that the tier has nothing under a name; what is excused is from then on not required.
  func missed(_ name: Name, _ cause: MissCause?) throws {
    for copy in copies[name] ?? [] where copy.isRequired {
      guard excuse(name, copy) else {
        throw DiskDifference(
          description: "missed \(name) for \(cause.map(\.name) ?? "no reason"), "
            + "\(copy.isPromised ? "promised" : "acknowledged"): \(copy.facts)")
      }
      copy.isPromised = false
      copy.isReadable = false
      tally.excused += 1
    }
  }

  private func history(_ name: Name, _ facts: HeldFacts) -> String {
    let known = (copies[name] ?? []).map {
      "\($0.isLike(facts) ? "THIS " : "")checksum \($0.facts.checksum.value) purge \($0.purge) "
        + "promised \($0.isPromised) required \($0.isRequired)"
    }
    return "\(name) \(facts); written were: \(known.joined(separator: "; "))"
  }
}
