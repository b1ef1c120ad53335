import KDNCore
import KDNMemory
import KDNTier

/// What the test says.
extension ScriptedTier {
  func set(_ change: (inout State) -> Void) { state.withLock { change(&$0) } }

  /// Puts an object in as if an earlier run had written it.
  func put(_ facts: ObjectFacts, fill: UInt8) {
    put(facts, bytes: [UInt8](repeating: fill, count: facts.storedBytes))
  }

  /// The same with bytes of one's own.
  func put(_ facts: ObjectFacts, bytes: [UInt8]) {
    state.withLock {
      $0.add(Stored(facts: facts, bytes: bytes, isDurable: true))
    }
  }

  var pendingReads: Int { state.withLock { $0.pendingReads.count } }
  var pendingWrites: [ObjectKey] { state.withLock { $0.pendingWrites.map(\.facts.key) } }
  var storedKeys: Set<ObjectKey> { state.withLock { Set($0.stored.keys.map(\.key)) } }

  func pin(of key: ObjectKey) -> UInt64? {
    state.withLock { state in state.pins.first { $0.key.key == key }?.value }
  }

  /// Ends the oldest read that is under way, whole unless `reading` says otherwise.
  func endRead(_ reading: TierReading? = nil) {
    let read = state.withLock { state in
      state.pendingReads.isEmpty ? nil : state.pendingReads.removeFirst()
    }
    guard let read else { return }
    if let reading { read.completion(reading) } else { finish(read) }
  }

  func endReads() { while pendingReads > 0 { endRead() } }

  /// Ends the oldest write that is under way, well unless `refusal` says otherwise.
  func endWrite(_ refusal: TierRefusal? = nil) {
    let write = state.withLock { state in
      state.pendingWrites.isEmpty ? nil : state.pendingWrites.removeFirst()
    }
    guard let write else { return }
    if let refusal { write.completion(.failure(refusal)) } else { finish(write) }
  }

  func endWrites() { while !pendingWrites.isEmpty { endWrite() } }

  func endPurges() {
    let ends = state.withLock { state in
      let ends = state.pendingPurges
      state.pendingPurges = []
      return ends
    }
    for end in ends { end() }
  }

  /// Drops all that is under way, without an answer.
  func forgetPending() {
    let dropped = state.withLock { state in
      let dropped = state
      state = State()
      return dropped
    }
    withExtendedLifetime(dropped) {}
  }

  func finish(_ write: Write) {
    let buffer = UnsafeRawBufferPointer(start: write.bytes.base, count: write.bytes.byteCount)
    let stored = Stored(facts: write.facts, bytes: Array(buffer), isDurable: write.isDurable)
    let isStored = state.withLock { state in
      // What was purged on its way is gone.
      let purges = state.purges[write.purgeCount...]
      guard
        !purges.contains(where: {
          $0.namespace == write.facts.namespace && Self.covers($0.scope, write.facts)
        })
      else { return false }
      let name = Name(namespace: write.facts.namespace, key: write.facts.key)
      if state.stored[name] == nil { state.add(stored) }
      if write.isDurable { state.stored[name]?.isDurable = true }
      return true
    }
    write.completion(isStored ? .success(()) : .failure(.gone))
  }

  /// Puts the new form in the place of the old one, if the object is the same still.
  func rewrite(
    _ facts: ObjectFacts, _ bytes: TierBytes,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    let buffer = UnsafeRawBufferPointer(start: bytes.base, count: bytes.byteCount)
    let name = Name(namespace: facts.namespace, key: facts.key)
    let refusal = state.withLock { state -> TierRefusal? in
      state.log.append("rewrite")
      if let refusal = state.rewriteRefusal { return refusal }
      guard let known = state.stored[name], known.facts.inForm(nil) == facts.inForm(nil) else {
        return .gone
      }
      state.stored[name]?.facts = facts
      state.stored[name]?.bytes = Array(buffer)
      return nil
    }
    completion(refusal.map { .failure($0) } ?? .success(()))
  }

  var forms: [UInt8: FormShare] {
    state.withLock { state in
      var forms: [UInt8: FormShare] = [:]
      for stored in state.stored.values {
        var share = forms[stored.facts.form?.codec ?? StoredForm.raw] ?? FormShare()
        share.objects += 1
        share.bytes += stored.facts.storedBytes
        share.rawBytes += stored.facts.byteCount
        forms[stored.facts.form?.codec ?? StoredForm.raw] = share
      }
      return forms
    }
  }

  func finish(_ read: Read) {
    let stored = state.withLock { $0.stored[read.name] }
    guard let stored else { return read.completion(.missed(.evicted)) }
    guard stored.bytes.count == read.room.byteCount else {
      return read.completion(.missed(.purged))
    }
    UnsafeMutableRawBufferPointer(start: read.room.base, count: read.room.byteCount)
      .copyBytes(from: stored.bytes)
    read.completion(.whole(stored.facts))
  }

  static func covers(_ scope: TierPurge, _ facts: ObjectFacts) -> Bool {
    switch scope {
    case .keys(let keys): keys.contains(facts.key)
    case .chunks(let hashes): facts.key.kind == .layout && hashes.contains(facts.key.hash)
    case .layouts(let layouts): layouts.contains(facts.key.layout)
    case .before(let generation): facts.generation < generation
    }
  }
}
