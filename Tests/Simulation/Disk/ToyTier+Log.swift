import KDNCore
import KDNMemory
import KDNTier

extension ToyTier {
  private static let headerWords = 6

  // MARK: Starting

  /// Reads records until one does not follow the one before.
  func replay() throws(DiskError) {
    var place = 0
    while place + diskBlockBytes <= file.byteCount {
      if let length = try replayRecord(at: place) {
        place += length
        offset = place
      } else if flaw == .believesAnyRecord {
        place += diskBlockBytes
      } else {
        return
      }
    }
  }

  /// Takes the record at `place` and gives its length; nil if none is there.
  private func replayRecord(at place: Int) throws(DiskError) -> Int? {
    let header = PageBuffer(byteCount: diskBlockBytes)
    try file.read(at: place, into: [BlockSpan(base: header.base, byteCount: diskBlockBytes)])
    let words = (0..<Self.headerWords).map {
      header.base.load(fromByteOffset: $0 * 8, as: UInt64.self)
    }
    guard words[0] == Self.magic, Self.seal(header) == words[5] else { return nil }
    guard words[1] == chain || flaw == .believesAnyRecord else { return nil }
    let bytes = Int(words[3])
    let whole = diskBlockBytes + (bytes + diskBlockBytes - 1) / diskBlockBytes * diskBlockBytes
    guard place + whole <= file.byteCount else { return nil }
    if bytes > 0 {
      let payload = PageBuffer(byteCount: bytes)
      let span = BlockSpan(base: payload.base, byteCount: payload.byteCount)
      try file.read(at: place + diskBlockBytes, into: [span])
      let sum = Checksum(of: UnsafeRawBufferPointer(start: payload.base, count: bytes)).value
      guard sum == words[4] || flaw == .trustsBytes else { return nil }
    }
    apply(Int(words[2]), at: place)
    chain = words[5]
    return whole
  }

  private func apply(_ number: Int, at offset: Int) {
    switch catalogue.events[number] {
    case .object(let facts):
      let place = Place(namespace: facts.namespace, key: facts.key)
      if flaw == .losesRamObjects, number % 16 == 0 { return }
      entries[place] = Entry(
        facts: facts, number: number, offset: offset, isWritten: true, isDurable: true)
    case .purge(let scope, let namespace): drop(scope, namespace)
    case .layout(let layout, let namespace): registered[namespace, default: []].append(layout)
    case .pin(let key, let namespace, let end):
      pins[Place(namespace: namespace, key: key)] = end
    }
  }

  @discardableResult
  private func drop(_ scope: TierPurge, _ namespace: NamespaceName) -> [ObjectFacts] {
    if case .before(let generation) = scope, flaw != .forgetsGenerations {
      generations[namespace] = max(generation, generations[namespace] ?? 0)
    }
    let dropped = entries.filter { place, entry in
      guard place.namespace == namespace else { return false }
      return switch scope {
      case .keys(let keys): keys.contains(place.key)
      case .chunks(let hashes): place.key.kind == .layout && hashes.contains(place.key.hash)
      case .layouts(let ids): ids.contains(place.key.layout)
      case .before(let generation): entry.facts.generation < generation
      }
    }
    for place in dropped.keys {
      entries[place] = nil
      pins[place] = nil
      holds[place] = nil
    }
    return dropped.values.map(\.facts)
  }

  private static func seal(_ header: PageBuffer) -> UInt64 {
    Checksum(of: UnsafeRawBufferPointer(start: header.base, count: 40)).value
  }

  // MARK: Writing

  private func append(
    _ event: ToyCatalogue.Event, _ bytes: TierBytes?, place: Place?, isDurable: Bool,
    tell: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    guard !isClosed else { return tell(.failure(.closing)) }
    guard !isBroken else { return tell(.failure(.failed)) }
    let count = bytes?.byteCount ?? 0
    let whole = diskBlockBytes + (count + diskBlockBytes - 1) / diskBlockBytes * diskBlockBytes
    guard offset + whole <= file.byteCount else { return tell(.failure(.busy)) }
    let number = catalogue.add(event)
    let buffer = PageBuffer(byteCount: whole)
    if let bytes { (buffer.base + diskBlockBytes).copyMemory(from: bytes.base, byteCount: count) }
    let payload = UnsafeRawBufferPointer(start: buffer.base + diskBlockBytes, count: count)
    let sum = Checksum(of: payload)
    let words = [Self.magic, chain, UInt64(number), UInt64(count), sum.value]
    for (index, word) in words.enumerated() {
      buffer.base.storeBytes(of: word, toByteOffset: index * 8, as: UInt64.self)
    }
    chain = Self.seal(buffer)
    buffer.base.storeBytes(of: chain, toByteOffset: 40, as: UInt64.self)
    if case .object(let facts) = event, let place {
      entries[place] = Entry(facts: facts, number: number, offset: offset)
    }
    jobs.append(
      Job(
        number: number, offset: offset, buffer: buffer, place: place, isDurable: isDurable,
        tell: tell))
    offset += whole
    if jobs.count == 1 || flaw == .writesOverItself { work() }
  }

  /// Writes the first record, makes it durable if asked to, and goes on.
  private func work() {
    guard let job = jobs.first else { return }
    let span = BlockSpan(base: job.buffer.base, byteCount: job.buffer.byteCount)
    if flaw == .acknowledgesBeforeSynchronise { job.tell(.success(())) }
    engine.submit(.write(file, at: job.offset, from: [span])) { [self] result in
      guard case .success = result else { return fail() }
      if let place = job.place, entries[place]?.number == job.number {
        entries[place]?.isWritten = true
      }
      guard job.isDurable, flaw != .synchronisesOnlyOnce || job.number == 0 else {
        return finish(job)
      }
      engine.submit(.synchronise(file)) { [self] result in
        if case .failure = result, flaw != .givesUpNothing { return fail() }
        for place in entries.keys where entries[place]?.isWritten == true {
          entries[place]?.isDurable = true
        }
        finish(job)
      }
    }
  }

  private func finish(_ job: Job) {
    guard !jobs.isEmpty else { return }
    jobs.removeFirst()
    if flaw != .acknowledgesBeforeSynchronise, flaw != .answersNever || job.number % 16 != 0 {
      job.tell(.success(()))
    }
    if flaw == .answersTwice, job.number % 16 == 0 { job.tell(.success(())) }
    work()
  }

  /// The device failed: nothing more is written, and what is not durable is gone.
  private func fail() {
    isBroken = true
    entries = entries.filter { $0.value.isDurable }
    let left = jobs
    jobs = []
    for job in left { job.tell(.failure(.failed)) }
  }

  func write(
    _ facts: ObjectFacts, _ bytes: TierBytes, isDurable: Bool,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    let limit = setting.scenario.segmentBytes - 2 * diskBlockBytes
    guard facts.byteCount <= limit else { return completion(.failure(.tooLarge(limit: limit))) }
    if case .held = find(facts.key, in: facts.namespace) {
      guard isDurable else { return completion(.success(())) }
      return makeDurable(facts.key, in: facts.namespace, completion: completion)
    }
    if let refusal = makeRoom(for: facts) { return completion(.failure(refusal)) }
    let place = Place(namespace: facts.namespace, key: facts.key)
    append(.object(facts), bytes, place: place, isDurable: isDurable, tell: completion)
  }

  func makeDurable(
    _ key: ObjectKey, in namespace: NamespaceName,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    guard case .held(let facts) = find(key, in: namespace) else {
      return completion(.failure(.gone))
    }
    guard !facts.isDurable else { return completion(.success(())) }
    // A purge of nothing, whose synchronise covers all that came before.
    append(.purge(.keys([]), namespace), nil, place: nil, isDurable: true, tell: completion)
  }

  func purge(
    _ scope: TierPurge, in namespace: NamespaceName, counted: Set<ObjectKey>,
    completion: @escaping @Sendable (Result<(objects: Int, bytes: Int), TierRefusal>) -> Void
  ) {
    let dropped = drop(scope, namespace).filter { !counted.contains($0.key) }
    let count = (objects: dropped.count, bytes: dropped.reduce(0) { $0 + $1.byteCount })
    guard flaw != .forgetsPurges else { return completion(.success(count)) }
    append(.purge(scope, namespace), nil, place: nil, isDurable: true) { result in
      completion(result.map { count })
    }
  }

  func register(_ layout: Layout, in namespace: NamespaceName) {
    registered[namespace, default: []].append(layout)
    append(.layout(layout, namespace), nil, place: nil, isDurable: false) { _ in }
  }

  func settle(completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void) {
    append(
      .purge(.keys([]), catalogueName), nil, place: nil, isDurable: true, tell: completion)
  }

  func notePin(_ place: Place, end: UInt64) {
    append(.pin(place.key, place.namespace, end: end), nil, place: nil, isDurable: false) { _ in }
  }

  func unpin(_ key: ObjectKey, in namespace: NamespaceName) -> Bool {
    let place = Place(namespace: namespace, key: key)
    guard let end = pins[place], end > now else { return false }
    pins[place] = nil
    notePin(place, end: 0)
    return true
  }

  func close(completion: @escaping @Sendable () -> Void) {
    append(.purge(.keys([]), catalogueName), nil, place: nil, isDurable: true) { _ in
      completion()
    }
    isClosed = true
  }

  private var catalogueName: NamespaceName {
    guard let name = try? NamespaceName("closing") else { preconditionFailure("a good name") }
    return name
  }

  // MARK: Reading

  func read(
    _ key: ObjectKey, in namespace: NamespaceName, into room: TierRoom,
    completion: @escaping @Sendable (TierReading) -> Void
  ) {
    let place = Place(namespace: namespace, key: key)
    guard let entry = entries[place] else { return completion(.missed(.neverStored)) }
    guard !isOver(entry.facts) else { return completion(.missed(.expired)) }
    guard entry.isWritten else { return completion(.busy) }
    let buffer = PageBuffer(byteCount: entry.facts.byteCount)
    let span = BlockSpan(base: buffer.base, byteCount: buffer.byteCount)
    let work = DiskWork.read(file, at: entry.offset + diskBlockBytes, into: [span])
    engine.submit(work) { [self] result in
      let bytes = UnsafeRawBufferPointer(start: buffer.base, count: entry.facts.byteCount)
      let isRight = flaw == .trustsBytes || Checksum(of: bytes) == entry.facts.checksum
      guard case .success = result, isRight else {
        entries[place] = nil
        return completion(.missed(.corrupt))
      }
      room.base.copyMemory(from: buffer.base, byteCount: entry.facts.byteCount)
      completion(.whole(entry.facts))
    }
  }
}
