package import KDNCore
internal import KDNMemory
internal import KDNTier

/// Keeping chunks as edits make them, by the background encoder.
///
/// It is within the encoder's share of the CPU, behind all else that it does, and begins nothing
/// while requests wait.
extension Pool {
  /// Objects of one document that are under way at a time: each takes memory.
  private static let pendingMax = 2

  /// Has the chunks that a document's edits change kept as they are delivered, and tells how far
  /// that is; an order for what is under way joins it.
  ///
  /// They are ordinary objects, evicted and written like others. What is not kept is edited where
  /// KV is assembled, to the same bytes.
  /// - Throws: `notFound` naming `name`, `fault` naming `edits` if they change no chunk, or
  ///   `profile` if the class needs one and none is in use, `limit` naming `orders`, `unavailable`
  ///   without `startCoding` and `startEditing`.
  package func materialise(
    document name: String, in namespace: Namespace
  ) throws(PoolRefusal) -> Materialised {
    guard let coding = coding.withLock({ $0 }), let editing = editing.withLock({ $0 }) else {
      throw .unavailable
    }
    guard let document = published(document: name, in: namespace) else {
      throw .notFound(what: "name", number: 0)
    }
    guard let form = editedForm(of: document, in: namespace) else {
      throw .fault(FieldFault("edits", value: 0, limit: 1, "they change no chunk"))
    }
    guard form.profile != .missing else { throw .fault(form.profileFault(0)) }
    let job = Materialisation(document, form, in: namespace)
    switch editing.begin(job) {
    case .known(let known): return known.progress
    case .full:
      let limit = Editing.activeMax
      throw .limit(FieldFault("orders", value: limit, limit: limit, "too many are carried out"))
    case .first: break
    }
    // It may have been edited since it was found: what is noted now is told of later changes.
    if published(document: name, in: namespace) !== document { job.cancel() }
    bringInSight(form.codec)
    coding.state.withLock { $0.materialisations.append(job) }
    coding.encodes.run {
      job.begin(self.items(of: document, form, in: namespace))
      self.advance(job, coding)
      self.pumpEncodes(coding)
    }
    return job.progress
  }

  /// How much of what a document's edits change is kept as it is delivered; nil if there is no such
  /// document.
  ///
  /// Looks up every chunk of it, and walks over all that the slower tier has of the tenant.
  package func materialised(
    document name: String, in namespace: Namespace
  ) -> Materialised? {
    guard let document = published(document: name, in: namespace) else { return nil }
    guard let form = editedForm(of: document, in: namespace) else { return Materialised(.nothing) }
    let job = editing.withLock({ $0 })?.job(of: document, in: namespace)
    if let job, !job.isCancelled { return job.progress }
    let items = items(of: document, form, in: namespace)
    let kept = items.count { keptKey(of: $0.key, form, in: namespace) != nil }
    guard !items.isEmpty else { return Materialised(.nothing) }
    return Materialised(
      kept == items.count ? .whole : .onDelivery, total: items.count, kept: kept)
  }

  /// The same, told on another thread where there is a slower tier, else before this returns.
  package func materialised(
    document name: String, in namespace: Namespace,
    completion: @escaping @Sendable (Materialised?) -> Void
  ) {
    guard backing != nil, let coding = coding.withLock({ $0 }) else {
      return completion(materialised(document: name, in: namespace))
    }
    coding.encodes.run { completion(self.materialised(document: name, in: namespace)) }
  }

  /// Objects of chunks that a form changes, in whatever parts there are, chunk by chunk.
  private func items(
    of published: PublishedDocument, _ form: EditedForm, in namespace: Namespace
  ) -> [Materialisation.Item] {
    let document = published.document
    var tokens: [ChunkHash: Range<Int>] = [:]
    for number in document.hashes.indices {
      let range = document.tokens(ofChunk: number)
      if form.changes(range) { tokens[document.hashes[number]] = range }
    }
    // Asked at once: the slower tier walks over all that it has of the tenant.
    return keys(of: Array(tokens.keys), in: namespace).compactMap { key in
      guard key.kind == .layout, key.layout == document.layout, key.variant == 0 else { return nil }
      return tokens[key.hash].map { Materialisation.Item(key: key, tokens: $0) }
    }.sorted { $0.tokens.lowerBound < $1.tokens.lowerBound }
  }

  // MARK: Steps

  /// Puts as many objects in the encoder's queue as have room there.
  func advance(_ job: Materialisation, _ coding: Coding) {
    guard job.beginAdvance() else { return }
    while let item = job.next(pendingMax: Self.pendingMax) {
      let name = WaitTable.Name(namespace: job.namespace.number, key: item.key)
      let work = EncodeJob(
        name: name, codec: job.form.codec, purpose: .materialise(item, job))
      // Half of the queue is left to what is on its way to the disk.
      let isAdded = coding.state.withLock { state in
        state.placesLeft > coding.settings.queuedMax / 2 && state.add(work)
      }
      guard isAdded else {
        job.putBack(item)
        break
      }
    }
    guard job.endAdvance() else { return }
    coding.state.withLock { $0.materialisations.removeAll { $0 === job } }
    editing.withLock { $0 }?.end(job)
  }

  /// Reads one object, and keeps what edits make of it.
  func materialise(_ item: Materialisation.Item, _ job: Materialisation, _ coding: Coding) {
    let namespace = job.namespace
    guard !job.isCancelled, keptKey(of: item.key, job.form, in: namespace) == nil else {
      return end(job, isKept: !job.isCancelled, coding)
    }
    let arrival = Guarded<(fetch: Fetch?, isOver: Bool)>((nil, false))
    let finish: @Sendable (Fetch?) -> Void = { fetch in
      let isKept =
        switch fetch?.take(item.key) ?? self.lookup(item.key, in: namespace) {
        case .hit(let lease): self.keep(BlendSources.Held(lease), item, job)
        case .miss: false
        }
      self.end(job, isKept: isKept, coding)
    }
    let fetch = fetch([item.key], in: namespace) {
      let known = arrival.withLock { arrival in
        arrival.isOver = true
        return arrival.fetch
      }
      guard let known else { return }
      coding.encodes.run {
        let start = self.clock.now()
        finish(known)
        let nanoseconds = self.clock.now().nanoseconds(since: start)
        coding.state.withLock { $0.spend(nanoseconds) }
      }
    }
    guard let fetch else { return finish(nil) }
    let isOver = arrival.withLock { arrival in
      arrival.fetch = fetch
      return arrival.isOver
    }
    if isOver { finish(fetch) }
  }

  private func end(_ job: Materialisation, isKept: Bool, _ coding: Coding) {
    job.end(isKept: isKept)
    if isKept { blending.withLock { $0 }?.table.withLock { $0.count { $0.materialised += 1 } } }
    advance(job, coding)
    pumpEncodes(coding)
  }

  /// Makes an object of what edits make of another, and says whether it is here now.
  private func keep(
    _ source: BlendSources.Held, _ item: Materialisation.Item, _ job: Materialisation
  ) -> Bool {
    guard source.isWhole, !job.isCancelled else { return false }
    let (form, namespace) = (job.form, job.namespace)
    let step = EditStep(form: form, key: item.key, tokens: item.tokens, namespace: namespace)
    let key = form.key(of: item.key, source: source.checksum)
    guard let made = body(of: source, step),
      let charge = try? takeIndexRoom(for: namespace, now: clock.now())
    else { return false }
    let facts = StoreFacts(
      key: key, byteCount: source.byteCount, firstToken: item.tokens.lowerBound,
      tokenCount: item.tokens.count, ttlMilliseconds: source.object.ttlLeft(now: clock.now()))
    let object = StoredObject(
      facts, checksum: made.checksum, block: made.body.block, form: made.body.form,
      charge: charge, namespace: namespace, generation: job.generation, age: newAge(facts))
    var replaced: StoredObject?
    let answer = residency.withLock { residency in
      insert(object, into: &residency, replacing: &replaced)
    }
    guard case .success = answer else { return false }
    if case .success(.published) = answer, backing != nil { offer(object, isWanted: false) }
    // Looked at after it can be found: what drops it has found it, or is seen here.
    guard !job.isCancelled, sourceChecksum(of: item.key, in: namespace) == source.checksum else {
      purge(.keys([key]), in: namespace) { _ in }
      return false
    }
    return true
  }

  /// What is kept, in RAM, and the checksum of it before it was encoded.
  private func body(
    of source: BlendSources.Held, _ step: EditStep
  ) -> (body: StoredBody, checksum: Checksum)? {
    if step.form.codec != 0 {
      guard case .success(let raw) = strengthened(source, step),
        case .success(let encoded) = encoded(raw, step)
      else { return nil }
      if let encoded { return (encoded, raw.checksum) }
    }
    guard let room = takeRoom(source.byteCount, step.namespace, now: clock.now()) else {
      return nil
    }
    let raw = strengthen(source, step, into: room)
    return (raw, raw.checksum)
  }

  // MARK: Dropping

  /// Drops what is kept of a document as its edits made it, for it has others or is no more.
  ///
  /// Later, where that takes a walk over the slower tier.
  func editsChanged(of before: PublishedDocument, in namespace: Namespace) {
    guard let editing = editing.withLock({ $0 }) else { return }
    editing.job(of: before, in: namespace)?.cancel()
    guard backing != nil, let coding = coding.withLock({ $0 }) else {
      return dropEdited(before, in: namespace)
    }
    let recipe = editedForm(of: before, in: namespace)?.recipe
    coding.encodes.run {
      // The same edits may have come back, and been kept, meanwhile.
      let present = self.published(document: before.document.name, in: namespace)
      guard
        let recipe,
        present.flatMap({ self.editedForm(of: $0, in: namespace) })?.recipe != recipe
      else { return }
      self.dropEdited(before, in: namespace)
    }
  }

  /// Drops what is kept of a document as its edits made it, which nobody asks for any more.
  private func dropEdited(_ document: PublishedDocument, in namespace: Namespace) {
    guard let form = editedForm(of: document, in: namespace) else { return }
    let published = document.document
    let hashes = published.hashes.indices.filter {
      form.changes(published.tokens(ofChunk: $0))
    }.map { form.hash(of: published.hashes[$0]) }
    let keys = keys(of: hashes, in: namespace).filter(\.isEdited)
    if !keys.isEmpty { purge(.keys(keys), in: namespace) { _ in } }
  }

  /// Drops what was made of chunks that are purged; to be called once they are gone from RAM.
  func dropEdited(of scope: PurgeScope, in namespace: Namespace) {
    let chunks: Set<ChunkHash>
    switch scope {
    // They are objects of the namespace and the layout themselves.
    case .namespace, .layouts: return
    case .prefixes(let hashes): chunks = Set(hashes)
    case .keys(let keys):
      chunks = Set(keys.lazy.filter { $0.kind == .layout && $0.variant == 0 }.map(\.hash))
    }
    guard !chunks.isEmpty else { return }
    for document in documents.table(of: namespace).edited
    where document.document.hashes.contains(where: chunks.contains) {
      editing.withLock { $0 }?.job(of: document, in: namespace)?.cancel()
      dropEdited(document, in: namespace)
    }
  }
}

extension EditedForm {
  /// Says that the class needs a profile, of the piece of this number in the order.
  package func profileFault(_ piece: Int) -> FieldFault {
    let name = PayloadCodec(rawValue: codec)?.name ?? "\(codec)"
    return FieldFault(
      "profile", value: UInt64(piece), limit: UInt64(codec),
      "class '\(name)' needs a profile of this layout, and none is in use")
  }
}

extension StoredObject {
  /// Milliseconds of its TTL that are left, at least one; 0 without one.
  fileprivate func ttlLeft(now: Instant) -> UInt64 {
    guard expiry != .never else { return 0 }
    return now < expiry ? max(1, expiry.nanoseconds(since: now) / 1_000_000) : 1
  }
}
