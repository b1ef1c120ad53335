package import KDNCore

/// What is to be given another form.
package struct RecodingOrder: Sendable {
  /// Which objects of a namespace.
  package enum Scope: Sendable {
    case all
    case layouts(Set<LayoutID>)
    case keys([ObjectKey])
  }

  /// Which objects.
  package var scope: Scope
  /// The kind of objects; nil for both.
  package var kind: ObjectKey.Kind?
  /// Where they are changed; what is elsewhere stays as it is.
  package var tiers: Set<CodingTier>
  /// The number of the codec's class; 0 for what was stored.
  package var codec: UInt8
  /// Whether objects are only looked at and counted.
  package var isTrial: Bool

  /// Puts the order together.
  package init(
    _ scope: Scope = .all, kind: ObjectKey.Kind? = nil, tiers: Set<CodingTier> = [.ram, .disk],
    codec: UInt8, isTrial: Bool = false
  ) {
    self.scope = scope
    self.kind = kind
    self.tiers = tiers
    self.codec = codec
    self.isTrial = isTrial
  }

  /// Whether an object of this name is meant.
  func includes(_ key: ObjectKey) -> Bool {
    guard kind == nil || key.kind == kind else { return false }
    guard case .layouts(let layouts) = scope else { return true }
    return key.kind == .layout && layouts.contains(key.layout)
  }
}

/// Why an object keeps the form that it has.
package enum RecodingObstacle: String, CaseIterable, Sendable {
  /// It has the form already.
  case sameForm = "same_form"
  /// It has a lossy form: what was stored is gone, and no form could bring it back.
  case alreadyLossy = "already_lossy"
  /// It would not become smaller, or the class is not for it.
  case doesNotPay = "does_not_pay"
  /// No profile for its layout is in use, or the one that its form needs is gone.
  case withoutProfile = "without_profile"
  /// It could not be encoded or decoded, or did not come out as it should.
  case failed
  /// There was no memory for it, or no room in the namespace's quota.
  case withoutRoom = "without_room"
  /// It was purged, evicted or dropped meanwhile.
  case gone
  /// The disk did not take the other form: too busy, failed, or over the namespace's quota.
  case notWritten = "not_written"
}

/// Changes the form of many objects in the background.
package final class Recoding: Sendable {
  /// How far it has come.
  package struct Progress: Equatable, Sendable {
    /// Objects of the scope; grows while they are counted.
    package var objectsTotal = 0
    /// Their bytes as they are kept, in RAM where they are there.
    package var bytesTotal = 0
    /// Of these, objects that neither have the form already nor a lossy one.
    package var recodable = 0
    /// Their bytes as they are kept.
    package var recodableBytes = 0
    /// Whether all are counted.
    package var isCounted = false
    /// Objects that were looked at.
    package var objects = 0
    /// Their bytes, as they were kept before.
    package var bytes = 0
    /// Objects that changed their form in a tier at least.
    package var recoded = 0
    /// Their bytes before, in the tier where they were found.
    package var bytesBefore = 0
    /// Their bytes after.
    package var bytesAfter = 0
    /// Objects that stay as they are, by why.
    package var declined: [RecodingObstacle: Int] = [:]
    /// Whether it is over.
    package var isOver = false
    /// Whether it was cancelled.
    package var isCancelled = false

    /// Objects that stay: they have the form already, or a lossy one.
    package var skipped: Int {
      declined[.sameForm, default: 0] + declined[.alreadyLossy, default: 0]
    }
    /// Objects that do not pay, could not be encoded, or had no room; or that were gone.
    package var failed: Int { declined.values.reduce(0, +) - skipped }
  }

  /// What came of one object.
  enum Outcome: Sendable {
    case recoded(before: Int, after: Int)
    case declined(RecodingObstacle)
  }

  struct State: Sendable {
    var progress = Progress()
    /// Where the listing goes on; nil before the first page.
    var cursor: String?
    var hasAll = false
    var waiting: [ObjectKey] = []
    var pending = 0
    var isAdvancing = false
  }

  let namespace: Namespace
  let order: RecodingOrder
  let state = Guarded(State())
  private let whenOver: @Sendable (Progress) -> Void

  init(
    _ namespace: Namespace, _ order: RecodingOrder,
    whenOver: @escaping @Sendable (Progress) -> Void
  ) {
    self.namespace = namespace
    self.order = order
    self.whenOver = whenOver
  }

  /// How far it has come.
  package var progress: Progress { state.withLock { $0.progress } }

  /// Begins nothing more; what is under way comes to its end.
  package func cancel() {
    state.withLock { state in
      guard !state.progress.isOver else { return }
      state.progress.isCancelled = true
      state.waiting = []
      state.hasAll = true
    }
  }

  // MARK: Steps

  /// Begins a step unless one is under way or all is over.
  func beginAdvance() -> Bool {
    state.withLock { state in
      guard !state.isAdvancing, !state.progress.isOver else { return false }
      state.isAdvancing = true
      return true
    }
  }

  /// Ends a step; says whether it was the last one, and then tells whoever waits for that.
  func endAdvance() -> Bool {
    let progress = state.withLock { state -> Progress? in
      state.isAdvancing = false
      guard state.hasAll, state.waiting.isEmpty, state.pending == 0 else { return nil }
      state.progress.isOver = true
      return state.progress
    }
    guard let progress else { return false }
    whenOver(progress)
    return true
  }

  func nextKey(pendingMax: Int) -> ObjectKey? {
    state.withLock { state in
      guard state.pending < pendingMax, let key = state.waiting.popLast() else { return nil }
      state.pending += 1
      return key
    }
  }

  func putBack(_ key: ObjectKey) {
    state.withLock { state in
      state.pending -= 1
      if !state.progress.isCancelled { state.waiting.append(key) }
    }
  }

  /// Notes the end of one object, which took so many bytes.
  func end(_ outcome: Outcome, bytes: Int) {
    state.withLock { state in
      state.pending -= 1
      state.progress.objects += 1
      state.progress.bytes += bytes
      switch outcome {
      case .recoded(let before, let after):
        state.progress.recoded += 1
        state.progress.bytesBefore += before
        state.progress.bytesAfter += after
      case .declined(let obstacle): state.progress.declined[obstacle, default: 0] += 1
      }
    }
  }

  // MARK: Counting

  /// Takes the counting as under way; false if it is by now, or is over.
  func beginCounting() -> Bool {
    state.withLock { state in
      guard !state.progress.isCounted, !state.hasAll, state.pending == 0 else { return false }
      state.pending = 1
      return true
    }
  }

  /// Adds what a piece of the counting found; `next`: where the listing goes on.
  func endCounting(_ found: RecodingCount, next: String?) {
    state.withLock { state in
      state.pending -= 1
      state.progress.objectsTotal += found.objects
      state.progress.bytesTotal += found.bytes
      state.progress.recodable += found.recodable
      state.progress.recodableBytes += found.recodableBytes
      if order.isTrial {
        state.progress.objects += found.objects
        state.progress.bytes += found.bytes
        state.progress.declined.merge(found.declined, uniquingKeysWith: +)
      }
      guard !state.progress.isCancelled else { return }
      state.cursor = next
      state.progress.isCounted = next == nil
      if next == nil, order.isTrial { state.hasAll = true }
    }
  }

  /// Gives the counting back that found no place to run.
  func putCountingBack() { state.withLock { $0.pending -= 1 } }
}

/// What a piece of a recoding's scope holds.
struct RecodingCount: Sendable {
  var objects = 0
  var bytes = 0
  var recodable = 0
  var recodableBytes = 0
  var declined: [RecodingObstacle: Int] = [:]

  mutating func add(_ decision: RecodingDecision, bytes count: Int) {
    guard decision.isWithin else { return }
    objects += 1
    bytes += count
    if let obstacle = decision.obstacle {
      declined[obstacle, default: 0] += 1
    } else {
      recodable += 1
      recodableBytes += count
    }
  }
}
