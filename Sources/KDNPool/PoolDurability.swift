package import KDNCore
internal import KDNMemory
internal import KDNTier

extension Pool {
  /// Waits until an object, in whichever tier it is, survives a loss of power.
  ///
  /// `completion` is called once, on any thread, perhaps before this returns, with nil or with
  /// `busy` if too much is being written, `unavailable` if there is no slower tier or it failed or
  /// its budget is spent, `notFound` naming `object` if it is not here or was purged meanwhile,
  /// `tooLarge` if it can never fit. The object stays in RAM in every case.
  package func makeDurable(
    _ key: ObjectKey, in namespace: Namespace,
    completion: @escaping @Sendable (PoolRefusal?) -> Void
  ) {
    guard let backing else { return completion(.unavailable) }
    guard !backing.isClosing else { return completion(busyWriting) }
    guard let object = live(key, in: namespace, now: clock.now()) else {
      return makeDurableBelow(key, namespace, backing, completion)
    }
    guard !object.isDerived else { return completion(.unavailable) }
    let state = object.writeState.value
    guard object.isHeld || state == WriteState.writing else {
      return writeDurably(object, from: state, backing, completion)
    }
    backing.tier.makeDurable(key, in: namespace.name) { result in
      guard case .failure(.gone) = result else {
        return completion(self.refusal(result, byteCount: object.byteCount))
      }
      // The tier made room since it wrote the object, or its write was refused.
      self.residency.withLock { $0.setHeld(object, false) }
      self.writeDurably(object, from: object.writeState.value, backing, completion)
    }
  }

  private func makeDurableBelow(
    _ key: ObjectKey, _ namespace: Namespace, _ backing: Backing,
    _ completion: @escaping @Sendable (PoolRefusal?) -> Void
  ) {
    switch backing.tier.find(key, in: namespace.name) {
    case .absent: completion(Self.goneObject)
    case .notReady: completion(busyWriting)
    case .held(let facts):
      backing.tier.makeDurable(key, in: namespace.name) { result in
        completion(self.refusal(result, byteCount: facts.byteCount))
      }
    }
  }

  /// Puts an object before all that wait; `state` is what its state was just now.
  private func writeDurably(
    _ object: StoredObject, from state: UInt64, _ backing: Backing,
    _ completion: @escaping @Sendable (PoolRefusal?) -> Void
  ) {
    let body = object.body
    let byteCount = body.block.byteCount
    guard backing.writes.withLock({ $0.lease(byteCount) }) else {
      return completion(busyWriting)
    }
    guard object.writeState.change(from: state, to: WriteState.writing) else {
      backing.writes.withLock { $0.endLease(byteCount) }
      // Another thread changed its way just now: from here on it only comes nearer to the tier.
      return makeDurable(object.key, in: object.namespace, completion: completion)
    }
    let bytes = TierBytes(body.block.lease())
    backing.writes.withLock { queue in
      queue.withdraw(state)
      queue.add(
        WriteQueue.Urgent(
          object: object, form: body.form, bytes: bytes, completion: completion))
    }
    write(backing)
  }

  func handOver(_ write: WriteQueue.Urgent, _ backing: Backing) {
    let object = write.object
    // Leased, so not evicted: what is not in the index was purged or has ended.
    guard live(object.key, in: object.namespace, now: clock.now()) === object else {
      return end(write, .failure(.gone), backing)
    }
    backing.tier.write(object.tierFacts(write.form), write.bytes, isDurable: true) { result in
      self.end(write, result, backing)
    }
  }

  private func end(
    _ write: WriteQueue.Urgent, _ result: Result<Void, TierRefusal>, _ backing: Backing
  ) {
    let object = write.object
    switch result {
    case .success: noteWritten(object, backing)
    case .failure(let refusal):
      _ = object.writeState.change(
        from: WriteState.writing, to: refusal == .busy ? WriteState.unasked : WriteState.over)
    }
    backing.writes.withLock { queue in
      queue.endLease(write.bytes.byteCount)
      queue.noteUrgent(write, result)
    }
    write.completion(refusal(result, byteCount: object.byteCount))
    if case .failure(.busy) = result { offer(object, isWanted: false) }
    if case .success = result { encodeBelow(object) }
    self.write(backing)
  }

  private func overDiskQuota(_ byteCount: Int, limit: Int) -> PoolRefusal {
    .overQuota(
      FieldFault(
        "diskBytes", value: byteCount, limit: limit, "the quota of the disk is used up"))
  }

  private static var goneObject: PoolRefusal { .notFound(what: "object", number: 0) }

  private var busyWriting: PoolRefusal {
    .busy(retryAfterMilliseconds: configuration.durabilityRetryMilliseconds)
  }

  private func refusal(_ result: Result<Void, TierRefusal>, byteCount: Int) -> PoolRefusal? {
    guard case .failure(let refusal) = result else { return nil }
    return switch refusal {
    case .busy, .closing: busyWriting
    case .notAdmitted, .failed: .unavailable
    case .tooLarge(let limit): .tooLarge(bytes: byteCount, limit: limit)
    case .overQuota(let limit): overDiskQuota(byteCount, limit: limit)
    case .gone: Self.goneObject
    }
  }
}

extension WriteQueue {
  fileprivate mutating func noteUrgent(
    _ write: Urgent, _ result: Result<Void, TierRefusal>
  ) {
    switch result {
    case .success:
      counts.written += 1
      counts.writtenBytes += UInt64(write.bytes.byteCount)
      retry()
    case .failure(let refusal):
      counts.note(refusal)
      if refusal != .busy { retry() }
    }
  }
}
