internal import KDNCore

extension LogState {
  /// Drops objects; the completion comes once no crash can bring them back.
  mutating func purge(
    _ scope: TierPurge, in namespace: NamespaceName, counted: Set<ObjectKey>, wall: UInt64,
    completion: @escaping @Sendable (Result<(objects: Int, bytes: Int), TierRefusal>) -> Void
  ) {
    guard closing == nil else { return finish { completion(.failure(.closing)) } }
    let number = tenants.number(of: namespace)
    if case .before(let generation) = scope {
      return end(number, namespace, before: generation, counted, wall, completion)
    }
    guard isReady else {
      guard waitingPurges.count < configuration.waitingPurgesMax else {
        return finish { completion(.failure(.busy)) }
      }
      waitingPurges.append(
        WaitingPurge(scope: scope, namespace: namespace, counted: counted, completion: completion))
      return
    }
    let keys = Set(keys(of: scope, in: number))
    var sum = (objects: 0, bytes: 0)
    for key in keys where !counted.contains(key) {
      guard let entry = live(DiskKey(namespace: number, key: key), wall: wall) else { continue }
      sum.objects += 1
      sum.bytes += entry.storedBytes
    }
    for key in keys { drop(DiskKey(namespace: number, key: key)) }
    let last = nextSequence - 1
    // For all that was asked, not only for what is here: a record that was given up, or whose
    // segment has not been begun anew, may still lie on a device.
    let entries: [JournalEntry] =
      switch scope {
      case .keys(let asked): Tenants.purged(Array(Set(asked)), namespace, sequence: last)
      case .chunks(let hashes): Tenants.purged(Array(hashes), namespace, sequence: last)
      case .layouts(let layouts): [.purgedLayouts(namespace, sequence: last, layouts: layouts)]
      case .before: []
      }
    guard !entries.isEmpty else { return finish { [sum] in completion(.success(sum)) } }
    if case .keys(let asked) = scope {
      for key in asked where key.kind == .opaque {
        doubts.add(.key(DiskKey(namespace: number, key: key)), ticket: nextTicket)
      }
    }
    remember(entries) { [sum] isDurable in
      completion(isDurable ? .success(sum) : .failure(.busy))
    }
  }

  private func keys(of scope: TierPurge, in number: UInt32) -> [ObjectKey] {
    switch scope {
    case .keys(let keys): keys.filter { index[DiskKey(namespace: number, key: $0)] != nil }
    case .chunks(let hashes):
      index.all.keys.filter {
        $0.namespace == number && $0.key.kind == .layout && hashes.contains($0.key.hash)
      }.map(\.key)
    case .layouts(let layouts):
      index.all.keys.filter {
        $0.namespace == number && $0.key.kind == .layout && layouts.contains($0.key.layout)
      }.map(\.key)
    case .before: []
    }
  }

  private mutating func end(
    _ number: UInt32, _ namespace: NamespaceName, before generation: UInt64,
    _ counted: Set<ObjectKey>, _ wall: UInt64,
    _ completion: @escaping @Sendable (Result<(objects: Int, bytes: Int), TierRefusal>) -> Void
  ) {
    let gone = index.all.filter { $0.key.namespace == number && $0.value.generation < generation }
    var sum = (objects: 0, bytes: 0)
    for (key, entry) in gone {
      if !counted.contains(key.key), live(key, wall: wall) != nil {
        sum.objects += 1
        sum.bytes += entry.storedBytes
      }
      drop(key)
    }
    shadows.forget(number, before: generation)
    doubts.add(.tenant(number), ticket: nextTicket)
    remember([.generation(namespace, generation)]) { [sum] isDurable in
      completion(isDurable ? .success(sum) : .failure(.busy))
    }
  }
}
