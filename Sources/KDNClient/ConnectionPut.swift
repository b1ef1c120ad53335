internal import KDNCore
package import KDNWire

extension Connection {
  /// Bytes whose checksum is taken just before they are sent: few enough to stay in the cache.
  private static let checkedPieceBytes = 512 << 10

  /// Stores one object; all of it is sent at once, without waiting for leave.
  ///
  /// - Returns: whether this store published the object or it was there with the same bytes.
  /// - Throws: `refused` with what BEGIN or else COMMIT was refused for, or whatever ends the
  ///   connection.
  @unsafe package func put(
    _ item: PutItem, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> PutCommitResponse.State {
    let results = unsafe try put(batch: [item], deadlineMilliseconds: deadlineMilliseconds)
    switch results[0] {
    case .stored(let state, _): return state
    case .refused(let status, let body): throw .refused(status, body)
    }
  }

  /// Stores objects one behind the other, as many on their way at once as the server's credit lets;
  /// each has the deadline for itself.
  ///
  /// - Returns: one result per item, in the order of `items`.
  /// - Throws: whatever ends the connection; which items are stored is then unknown.
  @unsafe package func put(
    batch items: [PutItem], deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> [PutResult] {
    var batch = unsafe PutBatch(count: items.count)
    defer { lent.removeAll() }
    return try guarded { () throws(ClientError) in
      try prepareStores(of: unsafe items.reduce(0) { unsafe max($0, $1.facts.totalBytes) })
      for index in unsafe items.indices {
        try unsafe send(items[index], index: index, in: &batch, deadlineMilliseconds)
      }
      while batch.isWaiting { try receiveAnswer(into: &batch) }
      return batch.finished
    }
  }

  private func send(
    _ item: PutItem, index: Int, in batch: inout PutBatch, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) {
    let facts = unsafe item.facts
    let byteCount = facts.totalBytes
    let gathered = unsafe item.pieces.reduce(0) { $0 + $1.count }
    precondition(gathered == byteCount && byteCount > 0, "totalBytes is not that of the pieces")
    if let (status, fault) = refusal(of: byteCount) {
      return batch.refuse(index, status, fault)
    }
    let loans = unsafe loans(of: item)
    if unsafe isOnDevice(item) && (loans == nil || item.checksum == nil) {
      return batch.refuse(index, .unsupported, Self.onDevice)
    }
    try start(deadlineMilliseconds: deadlineMilliseconds)
    while !machine.hasRoom || byteCount > hello.limits.creditBytes - batch.openBytes {
      guard batch.isWaiting || !unawaited.isEmpty else {
        throw .lost("the connection takes no request")
      }
      try receiveAnswer(into: &batch)
    }
    let transfer = try encode(.putBegin(facts), deadlineMilliseconds)
    batch.begin(transfer, index: index, byteCount: byteCount)
    let checksum = try unsafe sendObject(
      item, loans, transfer, in: &batch, deadlineMilliseconds)
    guard let checksum else { return }
    while !machine.hasRoom {
      guard machine.isReady else { throw .lost("the connection takes no request") }
      try receiveAnswer(into: &batch)
    }
    try commit(transfer, checksum, in: &batch, deadlineMilliseconds)
    try send()
  }

  /// Sends the object's bytes in the way of the link.
  ///
  /// - Returns: the checksum for COMMIT, nil if COMMIT was sent already.
  private func sendObject(
    _ item: PutItem, _ loans: [RemoteLoan]?, _ transfer: UInt64, in batch: inout PutBatch,
    _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> Checksum? {
    if window != nil, unsafe item.facts.totalBytes > Self.inlineBytesMax {
      return try unsafe sendThroughWindow(item, transfer, in: &batch)
    }
    if let loans {
      lent += loans
      return try unsafe sendRemotely(item, loans, transfer)
    }
    return try unsafe sendBytes(of: item, transfer, in: &batch, deadlineMilliseconds)
  }

  /// Why an object of this size need not be sent.
  private func refusal(of byteCount: Int) -> (Status, FieldFault)? {
    let limits = hello.limits
    guard byteCount <= limits.maxObjectBytes else {
      let fault = FieldFault(
        "totalBytes", value: byteCount, limit: limits.maxObjectBytes, "object too large")
      return (.tooLarge, fault)
    }
    guard byteCount <= limits.creditBytes else {
      let fault = FieldFault(
        "totalBytes", value: byteCount, limit: limits.creditBytes, "beyond the credit")
      return (.overCredit, fault)
    }
    return nil
  }

  /// Sends what lies in `outgoing`, all data frames, and COMMIT with the last of them.
  ///
  /// - Returns: the checksum if there was no room for COMMIT, nil if it was sent.
  private func sendBytes(
    of item: PutItem, _ transfer: UInt64, in batch: inout PutBatch, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> Checksum? {
    let total = unsafe item.facts.totalBytes
    let known = unsafe item.checksum
    var cursor = unsafe PieceCursor(item.pieces)
    var sent = 0
    var frameRemaining = 0
    checksum.reset()
    while sent < total {
      if frameRemaining == 0 {
        frameRemaining = min(hello.limits.maxFramePayloadBytes, total - sent)
        encodeData(transfer, offset: sent, byteCount: frameRemaining)
      }
      let limit = known == nil ? min(Self.checkedPieceBytes, frameRemaining) : frameRemaining
      let (places, count) = unsafe cursor.next(limit: limit)
      if known == nil { unsafe addToChecksum(places) }
      sent += count
      frameRemaining -= count
      swap(&front, &outgoing)
      outgoing.removeAll()
      if sent == total, machine.hasRoom {
        try commit(transfer, known ?? checksum.digest(), in: &batch, deadlineMilliseconds)
      }
      try unsafe socket.send(front.bytes, places, outgoing.bytes)
      progress?(sent, total)
      let isCommitted = outgoing.count > 0
      outgoing.removeAll()
      if isCommitted { return nil }
    }
    return known ?? checksum.digest()
  }

  func addToChecksum(_ places: [UnsafeRawBufferPointer]) {
    for index in unsafe places.indices { unsafe checksum.update(places[index]) }
  }

  private func encodeData(_ transfer: UInt64, offset: Int, byteCount: Int) {
    let data = PutDataRequest(transferID: transfer, offset: UInt64(offset))
    encoder.request(.putData(data), id: transfer, payloadLength: byteCount, to: &outgoing)
  }

  private func commit(
    _ transfer: UInt64, _ checksum: Checksum, in batch: inout PutBatch,
    _ deadlineMilliseconds: UInt32
  ) throws(ClientError) {
    let request = PutCommitRequest(transferID: transfer, checksum: checksum)
    batch.commit(try encode(.putCommit(request), deadlineMilliseconds), of: transfer, checksum)
  }

  /// Opens the window before the first store that is worth it.
  private func prepareStores(of largestBytes: Int) throws(ClientError) {
    guard link.kind == .shm, largestBytes > Self.inlineBytesMax, window == nil else { return }
    try start(deadlineMilliseconds: 0)
    _ = try openWindow()
  }

  /// Takes the next frame, which may answer a store of the batch.
  func receiveAnswer(into batch: inout PutBatch) throws(ClientError) {
    let event = try nextEvent()
    if !batch.take(event) { try pass(over: event) }
  }
}
