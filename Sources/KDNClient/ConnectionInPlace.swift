internal import KDNCore
internal import KDNMemory
package import KDNWire

extension Connection {
  /// Finds items where the server keeps them, to be read without a copy; over shared memory only.
  ///
  /// With `verifies`, and without the flag `unverified`, the bytes are checked where they lie: what
  /// does not have the checksum that the server announced is a miss with cause `corrupt`. A lease
  /// that ran out meanwhile makes all of them misses with cause `over_deadline`.
  ///
  /// The bytes are wanted for `leaseMilliseconds` at most; 0 is the server's default.
  ///
  /// - Returns: one result per item, in the order of `items`, and the lease; it is to be released.
  /// - Throws: `refused`, `unsendable` if there are no items or too many or the link is another, or
  ///   whatever ends the connection.
  package func getInPlace(
    _ items: [GetRequest.Item], leaseMilliseconds: UInt32 = 0, flags: GetRequest.Flags = [],
    deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> InPlaceResult {
    try getInPlace(
      items, leaseMilliseconds: leaseMilliseconds, terms: GetTerms(flags: flags),
      deadlineMilliseconds: deadlineMilliseconds)
  }

  /// Finds items where the server keeps them, as `terms` say; see
  /// `getInPlace(_:leaseMilliseconds:flags:)`.
  ///
  /// - Throws: as there.
  package func getInPlace(
    _ items: [GetRequest.Item], leaseMilliseconds: UInt32 = 0, terms: GetTerms,
    deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> InPlaceResult {
    guard link.kind == .shm else {
      throw .unsendable(
        FieldFault("place", value: 1, limit: 0, "only over shared memory, not \(link.kind)"))
    }
    try checkItemCount(items.count)
    let checks = verifies && !terms.flags.contains(.unverified)
    let request = terms.checking(checks).request(
      items, place: .sharedMemory(leaseMilliseconds: leaseMilliseconds))
    return try guarded { () throws(ClientError) in
      try start(deadlineMilliseconds: deadlineMilliseconds)
      let found = try locate(request, deadlineMilliseconds)
      guard checks else { return found.result(found.descriptors.map(Self.unchecked), life) }
      var results: [GetResult] = []
      for index in items.indices {
        results.append(found.verify(index, items[index].selection, &checksum))
      }
      let result = found.result(results, life)
      guard found.lease != 0, SystemClock().now() >= found.expiresAt else { return result }
      return found.result(results.map(Self.tooLate), life)
    }
  }

  /// Whether the lease of `result` is held at this moment: the connection is its own and open, on
  /// the server's side too, the lease not released and its time not over.
  package func holds(_ result: InPlaceResult) -> Bool {
    result.belongs(to: life) && isOpen && !socket.isHungUp
      && result.isValid(at: SystemClock().now())
  }

  /// Gives the lease of `result` back, without waiting for the answer; once is enough.
  ///
  /// - Throws: whatever ends the connection.
  package func release(_ result: InPlaceResult) throws(ClientError) {
    precondition(result.belongs(to: life), "a lease is released where it was got")
    guard result.markReleased() else { return }
    try guarded { () throws(ClientError) in
      try start(deadlineMilliseconds: 0)
      try release(result.leaseID)
    }
  }

  /// Sends RELEASE; its answer is passed over when it comes.
  func release(_ leaseID: UInt64) throws(ClientError) {
    guard leaseID != 0 else { return }
    try awaitRoom()
    unawaited.insert(try encode(.release(ReleaseRequest(leaseID: leaseID)), 0))
    try send()
  }

  /// Has the items leased in place and their slabs mapped.
  func locate(
    _ request: GetRequest, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> LocatedItems {
    // The lease began on the server after this, so on this side it ends no later than there.
    let askedAt = SystemClock().now()
    let (id, answer) = try answer(to: request, deadlineMilliseconds)
    guard let inPlace = answer.inPlace else {
      preconditionFailure("the machine admits no other place than was asked for")
    }
    var places: [InPlaceResult.Place?] = []
    var hits = inPlace.hits[...]
    for (index, descriptor) in answer.descriptors.enumerated() {
      guard descriptor.miss == nil, let hit = hits.popFirst() else {
        places.append(nil)
        continue
      }
      guard descriptor.answers(request, index, verifies: !request.flags.contains(.unverified))
      else {
        throw Self.fault(
          id, .get, "sentBytes", descriptor.sentBytes, descriptor.objectBytes,
          "not what was selected")
      }
      places.append(try place(of: hit, id))
    }
    let expiresAt = askedAt.advanced(milliseconds: UInt64(inPlace.leaseMilliseconds))
    return LocatedItems(
      descriptors: answer.descriptors, places: places, lease: inPlace.leaseID,
      expiresAt: expiresAt)
  }

  private func place(
    of hit: SlabExtents, _ id: UInt64
  ) throws(ClientError) -> InPlaceResult.Place? {
    guard let view = try slab(hit.slabID) else { return nil }
    for extent in hit.extents where extent.lowerBound < 0 || extent.upperBound > view.byteCount {
      throw Self.fault(
        id, .get, "offset", extent.upperBound, view.byteCount, "beyond the end of the slab")
    }
    return InPlaceResult.Place(view: view, extents: hit.extents)
  }

  private static func unchecked(_ descriptor: GetDescriptor) -> GetResult {
    if let miss = descriptor.miss { return .miss(miss) }
    return GetResult(hit: descriptor)
  }

  private static func tooLate(_ result: GetResult) -> GetResult {
    result.bytes > 0 ? .miss(.overDeadline) : result
  }
}
