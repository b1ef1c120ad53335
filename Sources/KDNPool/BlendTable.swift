internal import KDNCore

/// All blends that are under way or were assembled, and those that were given up.
struct BlendTable: Sendable {
  /// A blend of a tenant.
  struct Name: Hashable, Sendable {
    let namespace: UInt32
    let hash: ChunkHash
  }

  /// How an order goes on.
  enum Joining: Sendable {
    /// The caller has to assemble it.
    case first(Blend)
    case known(Blend)
    case refused(BlendRefusal)
  }

  private struct Failure: Sendable {
    let cause: MissCause
    let serial: UInt64
  }

  private let settings: BlendSettings
  private var rows: [Name: Blend] = [:]
  private var underWay: [UInt32: Int] = [:]
  /// Blends that were assembled, in the order in which they ended.
  private var done = FIFO<(blend: Blend, end: Instant)>()
  private var failures: [Name: Failure] = [:]
  private var failed = FIFO<(name: Name, serial: UInt64, end: Instant)>()
  private var lastSerial: UInt64 = 0
  /// Whether the pool is closing: nothing is begun.
  private(set) var isClosing = false
  private var counts = BlendStatistics()

  init(_ settings: BlendSettings) { self.settings = settings }

  /// A picture of the counters.
  var statistics: BlendStatistics {
    var picture = counts
    picture.underWay = underWay.values.reduce(0, +)
    picture.kept = rows.count - picture.underWay
    return picture
  }

  mutating func count(_ change: (inout BlendStatistics) -> Void) { change(&counts) }

  /// Finds the blend of an order, or notes a new one.
  mutating func join(_ order: BlendOrder, in namespace: Namespace, now: Instant) -> Joining {
    guard !isClosing else { return .refused(.cancelled(.notReady)) }
    let name = Name(namespace: namespace.number, hash: order.hash)
    if let known = rows[name] { return .known(known) }
    let own = underWay[namespace.number] ?? 0
    guard own < settings.perNamespaceMax else {
      return .refused(.busy(Self.tooMany(settings.perNamespaceMax, "of this namespace")))
    }
    guard underWay.values.reduce(0, +) < settings.underWayMax else {
      return .refused(.busy(Self.tooMany(settings.underWayMax, "of all namespaces")))
    }
    let blend = Blend(order, in: namespace, now: now, writersMax: settings.writersMax)
    rows[name] = blend
    underWay[namespace.number] = own + 1
    failures[name] = nil
    return .first(blend)
  }

  private static func tooMany(_ limit: Int, _ whose: String) -> FieldFault {
    FieldFault("blends", value: limit, limit: limit, "too many blends \(whose) are under way")
  }

  /// Notes that a blend is whole; returns those that make room for it among the remembered.
  mutating func end(_ blend: Blend, now: Instant) -> [Blend] {
    leave(blend)
    done.append((blend, now.advanced(milliseconds: settings.ttlMilliseconds)))
    var dropped: [Blend] = []
    while done.count > settings.keptMax, let oldest = done.popFirst() {
      if remove(oldest.blend) { dropped.append(oldest.blend) }
    }
    return dropped
  }

  /// Forgets a blend that is under way, and why if its objects may be waited for.
  mutating func fail(_ blend: Blend, _ cause: MissCause?, now: Instant) {
    leave(blend)
    _ = remove(blend)
    if let cause { note(cause, of: blend, now: now) }
  }

  /// Forgets a blend that was assembled, and notes why nobody need wait for it; false if it was
  /// forgotten already.
  mutating func drop(_ blend: Blend, _ cause: MissCause, now: Instant) -> Bool {
    guard remove(blend) else { return false }
    note(cause, of: blend, now: now)
    return true
  }

  private mutating func note(_ cause: MissCause, of blend: Blend, now: Instant) {
    lastSerial += 1
    failures[blend.name] = Failure(cause: cause, serial: lastSerial)
    let end = now.advanced(milliseconds: settings.ttlMilliseconds)
    failed.append((blend.name, lastSerial, end))
    while failed.count > settings.keptMax, let oldest = failed.popFirst() { forget(oldest) }
  }

  private mutating func leave(_ blend: Blend) {
    let left = (underWay[blend.name.namespace] ?? 1) - 1
    underWay[blend.name.namespace] = left > 0 ? left : nil
  }

  private mutating func forget(_ old: (name: Name, serial: UInt64, end: Instant)) {
    if failures[old.name]?.serial == old.serial { failures[old.name] = nil }
  }

  /// Forgets a blend; false if it was forgotten already.
  mutating func remove(_ blend: Blend) -> Bool {
    guard rows[blend.name] === blend else { return false }
    rows[blend.name] = nil
    return true
  }

  /// The blend of a name, under way or assembled.
  func blend(of name: Name) -> Blend? { rows[name] }

  /// Why a blend was given up, if that was not long ago and nobody has ordered it since.
  func failure(of name: Name) -> MissCause? { failures[name]?.cause }

  /// Blends of a namespace, or all.
  func blends(of namespace: UInt32?) -> [Blend] {
    guard let namespace else { return Array(rows.values) }
    return rows.values.filter { $0.name.namespace == namespace }
  }

  /// Forgets what has outlived its time.
  mutating func tick(now: Instant) {
    while let first = done.first, first.end <= now {
      _ = done.popFirst()
      _ = remove(first.blend)
    }
    while let first = failed.first, first.end <= now {
      _ = failed.popFirst()
      forget(first)
    }
  }

  /// Lets nothing begin any more.
  mutating func close() { isClosing = true }
}
