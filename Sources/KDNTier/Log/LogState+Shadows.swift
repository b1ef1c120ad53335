internal import KDNCore

/// Records of opaque objects that left the index without being purged, and whose bytes a start may
/// still find: the highest sequence by name.
///
/// Only who replaces an object has to know of them: what is named by its content is the same when
/// it comes back. Names are kept by a keyed fingerprint; two that share one cost a purge too many.
struct ShadowTable: Sendable {
  private struct Name: Hashable, Sendable {
    let namespace: UInt32
    let fingerprint: UInt64
  }

  /// The highest of each among a name's records; they may be two records'.
  private struct Shadow: Sendable {
    var sequence: UInt64 = 0
    var generation: UInt64 = 0
  }

  /// Most names; what is beyond them counts for all names.
  static let namesMax = 32_768

  private var shadows: [Name: Shadow] = [:]
  /// Up to this sequence any name may have a shadow that is not here.
  private var unknownThrough: UInt64 = 0

  /// Whether any name may have a shadow.
  var mayHaveAny: Bool { unknownThrough > 0 }
  /// How many names are kept.
  var count: Int { shadows.count }

  /// The highest sequence that a shadow of `key` may have; 0 if it has none.
  func sequence(of key: DiskKey) -> UInt64 {
    max(unknownThrough, shadows[Self.name(key)]?.sequence ?? 0)
  }

  /// Notes a shadow; `first` is the lowest sequence of all records on devices.
  mutating func note(
    _ key: DiskKey, sequence: UInt64, generation: UInt64 = 0, first: () -> UInt64
  ) {
    let name = Self.name(key)
    if shadows[name] == nil, shadows.count >= Self.namesMax {
      forget(before: first())
      // All of them at once, so that the next ones find room without a walk each.
      if shadows.count > Self.namesMax / 2 {
        unknownThrough = max(unknownThrough, shadows.values.map(\.sequence).max() ?? 0)
        shadows = [:]
      }
    }
    let known = shadows[name] ?? Shadow()
    shadows[name] = Shadow(
      sequence: max(sequence, known.sequence), generation: max(generation, known.generation))
  }

  /// Notes that any name may have a shadow with a sequence up to this.
  mutating func noteAll(through sequence: UInt64) { unknownThrough = max(unknownThrough, sequence) }

  /// Forgets those that were overwritten: records on devices have a sequence of at least `first`.
  mutating func forget(before first: UInt64) {
    shadows = shadows.filter { $0.value.sequence >= first }
    if unknownThrough < first { unknownThrough = 0 }
  }

  /// Forgets those of a tenant whose records of earlier generations are all dead.
  ///
  /// Of the new generation there may be some: stored behind a purge that a crash made undone.
  mutating func forget(_ namespace: UInt32, before generation: UInt64) {
    shadows = shadows.filter {
      $0.key.namespace != namespace || $0.value.generation >= generation
    }
  }

  private static func name(_ key: DiskKey) -> Name {
    var hasher = Hasher()
    hasher.combine(key.key)
    return Name(
      namespace: key.namespace, fingerprint: UInt64(bitPattern: Int64(hasher.finalize())))
  }
}

/// What was purged, and is perhaps not so after a crash.
struct PurgeDoubts: Sendable {
  /// What a purge concerned.
  enum Subject: Hashable, Sendable {
    case key(DiskKey)
    case tenant(UInt32)
  }

  /// The journal's ticket that ends the latest doubt.
  private var tickets: [Subject: UInt64] = [:]
  private var subjects: [UInt64: [Subject]] = [:]

  /// Notes that a purge is not durable before the journal's ticket of this number has ended.
  mutating func add(_ subject: Subject, ticket: UInt64) {
    tickets[subject] = ticket
    if ticket != .max { subjects[ticket, default: []].append(subject) }
  }

  /// A ticket has ended; what it did not make durable stays in doubt until it is purged again.
  mutating func end(_ ticket: UInt64, isDurable: Bool) {
    guard let ended = subjects.removeValue(forKey: ticket), isDurable else { return }
    for subject in ended where tickets[subject] == ticket { tickets[subject] = nil }
  }

  /// Whether an object of this name could come back that was purged.
  func concern(_ key: DiskKey) -> Bool {
    tickets[.key(key)] != nil || tickets[.tenant(key.namespace)] != nil
  }
}

extension LogState {
  /// Notes that a record is not in the index any more, though a start may find it.
  mutating func noteShadow(of key: DiskKey, sequence: UInt64, generation: UInt64) {
    guard key.key.kind == .opaque else { return }
    let directories = directories
    shadows.note(key, sequence: sequence, generation: generation) {
      directories.map(\.oldestSequence).min() ?? 0
    }
  }

  /// Notes what could not be read at this start, and perhaps can be at another one.
  ///
  /// A run whose journal failed may have used sequences that no journal reserved. Those given from
  /// now on lie far behind: what is purged now is so whatever sequence an unread record has.
  mutating func noteUnreadShadows() {
    let isUnread = directories.contains { directory in
      directory.isDistrusted || directory.recoveryFault != nil
        || directory.slots.contains { $0.state == .unusable }
    }
    guard isUnread else { return }
    nextSequence = max(nextSequence, reservedSequence) + 2 * Self.sequencesAhead
    shadows.noteAll(through: nextSequence - 1)
  }

  /// Whether a start could find a record of this name that is older than what is stored next.
  func mayReturn(_ key: DiskKey) -> Bool {
    guard isReady, index[key] == nil else { return true }
    guard shadows.sequence(of: key) <= tenants.purgedThrough(key) ?? 0 else { return true }
    return doubts.concern(key)
  }
}
