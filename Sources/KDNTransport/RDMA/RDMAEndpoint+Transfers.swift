extension RDMAEndpoint {
  /// Queues a write of `pieces`, one behind the other, to the other side's memory.
  ///
  /// `keeping` is kept until the device has read all of it. A key or an address that the other side
  /// does not grant ends the connection.
  /// - Returns: false, with nothing queued, if the remote bytes would wrap around the end of the
  ///   address space.
  package func write(
    _ pieces: [RDMAPiece], toAddress address: UInt64, key: UInt32, token: UInt64,
    keeping: AnyObject?
  ) -> Bool {
    let chain = RDMAChain(
      pieces: pieces.map(\.byteCount), requestBytesMax: context.maxMessageBytes,
      piecesMax: pair.piecesPerWrite)
    guard RDMAChain.fits(address: address, byteCount: chain.byteCount) else { return false }
    queue(
      RDMATransfer(
        .write, pieces, remoteAddress: address, remoteKey: key, token: token, keeping: keeping,
        chain: chain))
    return true
  }

  /// Queues a read of the other side's memory into `piece`, whose bytes `keeping` keeps reserved.
  ///
  /// - Returns: false, with nothing queued, if the remote bytes would wrap around the end of the
  ///   address space.
  package func read(
    into piece: RDMAPiece, fromAddress address: UInt64, key: UInt32, token: UInt64,
    keeping: AnyObject?
  ) -> Bool {
    guard RDMAChain.fits(address: address, byteCount: piece.byteCount) else { return false }
    guard fault == nil, !isClosed, let sink = sink(for: piece) else { return true }
    let chain = RDMAChain(
      pieces: [sink.byteCount], requestBytesMax: context.maxMessageBytes, piecesMax: 1)
    queue(
      RDMATransfer(
        .read, [sink], remoteAddress: address, remoteKey: key, token: token, keeping: keeping,
        chain: chain))
    return true
  }

  /// iWARP wants remote writing granted where a read's bytes go: it is granted to just these bytes,
  /// for as long as the read takes.
  private func sink(for piece: RDMAPiece) -> RDMAPiece? {
    guard context.isIWARP, piece.byteCount > 0 else { return piece }
    do throws(RDMAFault) {
      // Safe because: the piece lies within a region, whose owner keeps it until the read is over.
      let start = unsafe UnsafeMutableRawPointer(bitPattern: UInt(piece.address))
      let bytes = unsafe UnsafeMutableRawBufferPointer(start: start, count: piece.byteCount)
      let region = unsafe try RDMARegion(bytes, access: .remoteWrite, in: context)
      return RDMAPiece(of: region, address: piece.address, byteCount: piece.byteCount)
    } catch {
      leave(error)
      return nil
    }
  }
}
