internal import KDNCore
internal import KDNWire

extension Connection {
  /// Sends the bytes of a store through the window, what lies in `outgoing` with the first.
  ///
  /// The server copies them from there, in the order of the frames. Where the window is full this
  /// waits until the server has answered a request that was sent behind the bytes.
  ///
  /// - Returns: the checksum for COMMIT.
  func sendThroughWindow(
    _ item: PutItem, _ transfer: UInt64, in batch: inout PutBatch
  ) throws(ClientError) -> Checksum {
    let total = unsafe item.facts.totalBytes
    let known = unsafe item.checksum
    var cursor = unsafe PieceCursor(item.pieces)
    var sent = 0
    checksum.reset()
    while sent < total {
      let range = try takeFromWindow(limit: total - sent, in: &batch)
      fill(range, from: &cursor, checked: known == nil)
      let data = PutDataRequest(
        transferID: transfer, offset: UInt64(sent),
        source: .window(offset: range.lowerBound, byteCount: range.count))
      encoder.request(.putData(data), id: transfer, to: &outgoing)
      sent += range.count
      try markWindow()
      try send()
      progress?(sent, total)
    }
    return known ?? checksum.digest()
  }

  /// Free bytes of the window; waits until there are some.
  private func takeFromWindow(
    limit: Int, in batch: inout PutBatch
  ) throws(ClientError) -> Range<Int> {
    let most = min(limit, window?.pieceBytes ?? 0, hello.limits.maxFramePayloadBytes)
    while true {
      if let range = window?.ring.take(limit: most) { return range }
      try markWindow(evenIfFew: true)
      try send()
      guard batch.isWaiting || !unawaited.isEmpty else {
        throw .lost("the connection takes no request")
      }
      try receiveAnswer(into: &batch)
    }
  }

  private func fill(_ range: Range<Int>, from cursor: inout PieceCursor, checked: Bool) {
    var position = range.lowerBound
    while position < range.upperBound {
      let (places, count) = unsafe cursor.next(limit: range.upperBound - position)
      let filled = position..<position + count
      unsafe window?.fill(filled, from: places)
      // What was copied is in the cache now; nobody but this client writes the window.
      if checked, let bytes = unsafe window?.bytes(filled) { unsafe addToChecksum([bytes]) }
      position += count
    }
  }

  /// Asks for a sign of life behind bytes that no other request marks.
  private func markWindow(evenIfFew: Bool = false) throws(ClientError) {
    guard let window, window.needsMark || (evenIfFew && window.ring.unmarkedBytes > 0),
      machine.hasRoom
    else { return }
    let id = try encode(.exists(KeysRequest(keys: [])), 0)
    unawaited.insert(id)
    self.window?.ring.mark(id)
  }
}
