internal import DequeModule
internal import KDNCore
package import KDNMemory

/// A session's link over a queue pair: a stream of messages, and WRITEs and READs beside it.
///
/// Messages and WRITEs go out in the order in which they were queued, so that a message is received
/// after the bytes that were written before it; urgent messages pass what the device has not been
/// given. The device gets no more at once than keeps it busy. Leases are held until their WRITEs
/// are over or the queue pair is gone; the same holds for whatever owns the target of a READ.
package final class RDMALink: SessionLink {
  /// Largest READ, and largest chain of WRITEs, so that what passes by them need not wait long and
  /// bytes are hashed while the next ones arrive.
  private static let chunkBytesMax = 4 << 20
  /// Bytes of WRITEs, and of READs, that the device has been given and not done.
  private static let windowBytes = 16 << 20
  /// Bytes of messages that wait for the other side's credits outside of the queues here.
  private static let streamWindowBytes = 64 << 10
  /// WRITEs and READs that may wait: with more of them nothing is received.
  private static let transfersMax = 4096

  private let endpoint: RDMAEndpoint
  private var urgent = Deque<[UInt8]>()
  private var urgentBytes = 0
  private var ordinary = UniqueDeque<RDMAOutbound>()
  private var ordinaryBytes = 0
  private var ordinaryWrites = 0
  /// How much of the first ordinary entry the device has been given.
  private var sentOfFirst = 0
  /// An ordinary message has begun and not ended.
  private var isInsideMessage = false
  private var waitingReads = Deque<RDMARead>()
  /// WRITEs and READs that the device has been given, in order.
  private var underWay = Deque<Transfer>()
  private var writeBytesUnderWay = 0
  private var readBytesUnderWay = 0
  private var lastToken: UInt64 = 0
  private var writtenBytes: UInt64 = 0
  private var readBytes: UInt64 = 0
  private var watcher: RDMAWatcher?
  private var wantsInput = true
  /// Something could not be given to the device: the link must not go on without it.
  private var isSpoilt = false
  private var ended: (() -> Void)?

  /// Memory that a link has for messages, in bytes.
  package static var bufferBytes: Int { RDMASettings.sendSlots * RDMASettings().messageBytes }

  /// Takes over an established queue pair; `ended` is called once it is gone with its memory.
  package init(_ endpoint: RDMAEndpoint, ended: @escaping () -> Void = {}) {
    self.endpoint = endpoint
    self.ended = ended
  }

  deinit { ended?() }

  // MARK: State

  package var queuedBytes: Int {
    urgentBytes + ordinaryBytes + writeBytesUnderWay + endpoint.queuedBytes
  }
  package var queuedDescriptors: Int { 0 }
  /// All bytes sent, those of WRITEs included.
  package var sentBytes: UInt64 { endpoint.sentBytes + writtenBytes }
  /// All bytes received, those of READs included.
  package var receivedBytes: UInt64 { endpoint.receivedBytes + readBytes }
  /// Never: completions tell.
  package var wantsToWrite: Bool { false }
  package var hasBufferedInput: Bool { mayReceive && endpoint.hasBufferedInput }
  package var handshake: HandshakeState { .none }
  package var handshakeFailure: String { "" }
  package var peerNames: [String] { [] }
  package var peerAddress: PeerAddress { endpoint.peerAddress }
  package var peerCredentials: PeerCredentials? { nil }
  package var localEndpoint: Endpoint? { nil }
  package var securityDescription: String? { nil }
  /// Why the link broke; nil while it works.
  package var failure: RDMAFault? { endpoint.fault }
  /// WRITEs and READs that are queued or under way.
  package var openTransfers: Int { ordinaryWrites + waitingReads.count + underWay.count }

  private var mayReceive: Bool { openTransfers < Self.transfersMax }

  // MARK: The stream

  @unsafe package func receive(
    into first: UnsafeMutableRawBufferPointer, then second: UnsafeMutableRawBufferPointer
  ) -> Reception {
    guard mayReceive else { return .wouldBlock }
    return unsafe endpoint.receive(into: first, then: second)
  }

  package func send(_ bytes: [UInt8], isUrgent: Bool) {
    guard isUrgent else { return append(.bytes(bytes, endsMessage: true), bytes.count) }
    urgent.append(bytes)
    urgentBytes += bytes.count
  }

  package func send(_ bytes: [UInt8], passing descriptor: Int32) {
    preconditionFailure("no descriptor goes over the fabric")
  }

  package func beginMessage(_ bytes: [UInt8]) {
    append(.bytes(bytes, endsMessage: false), bytes.count)
  }

  @unsafe package func sendBorrowed(_ bytes: UnsafeRawBufferPointer, endsMessage: Bool) {
    append(unsafe .borrowed(bytes, endsMessage: endsMessage), bytes.count)
  }

  package func keep(_ lease: consuming Lease) { append(.keep(lease), 0) }

  private func append(_ entry: consuming RDMAOutbound, _ byteCount: Int) {
    ordinary.append(entry)
    ordinaryBytes += byteCount
  }

  // MARK: One-sided operations

  /// Whether the device knows the slab, or can be told of it.
  package func canTransfer(_ slab: Slab) -> Bool { endpoint.context.region(of: slab) != nil }

  /// Queues a WRITE of pieces of a slab, one behind the other, to the client's memory.
  ///
  /// Messages queued later arrive after it. `lease` is held until it is over; the device must know
  /// the slab.
  @unsafe package func write(
    _ pieces: [UnsafeRawBufferPointer], of slab: Slab, toAddress address: UInt64, key: UInt32,
    keeping lease: consuming Lease
  ) {
    // Known a moment ago: now its device is gone.
    guard let region = endpoint.context.region(of: slab) else { return spoil() }
    let owner = LeaseOwner(lease)
    var chunk = RDMAWrite(address: address, key: key, owner: owner)
    for index in unsafe pieces.indices {
      let piece = unsafe pieces[index]
      var offset = 0
      while offset < piece.count {
        let count = min(piece.count - offset, Self.chunkBytesMax - chunk.byteCount)
        let start = UInt64(UInt(bitPattern: piece.baseAddress)) + UInt64(offset)
        chunk.append(RDMAPiece(of: region, address: start, byteCount: count))
        offset += count
        guard chunk.isFull(of: Self.chunkBytesMax) else { continue }
        append(chunk)
        chunk = chunk.next
      }
    }
    if chunk.byteCount > 0 { append(chunk) }
  }

  private func append(_ write: RDMAWrite) {
    ordinaryWrites += 1
    append(.write(write), write.byteCount)
  }

  /// Queues a READ of the client's memory into `target`, a part of a slab that the device knows.
  ///
  /// `arrived` is told of each next run of bytes that is there, from within `flush`. `owner`, which
  /// keeps the target, is held until all of it is over. A READ that fails breaks the link.
  @unsafe package func read(
    into target: UnsafeMutableRawBufferPointer, of slab: Slab, fromAddress address: UInt64,
    key: UInt32, keeping owner: AnyObject, arrived: @escaping (Int) -> Void
  ) {
    // Known a moment ago: now its device is gone.
    guard let region = endpoint.context.region(of: slab) else { return spoil() }
    var offset = 0
    while offset < target.count {
      let count = min(target.count - offset, Self.chunkBytesMax)
      let start = UInt64(UInt(bitPattern: target.baseAddress)) + UInt64(offset)
      waitingReads.append(
        RDMARead(
          piece: RDMAPiece(of: region, address: start, byteCount: count),
          address: address &+ UInt64(offset), key: key, owner: owner, arrived: arrived))
      offset += count
    }
  }

  private func spoil() { isSpoilt = true }

  /// Drops the READs for `owner` that the device has not been given; returns how many bytes they
  /// would have brought.
  package func cancelReads(for owner: AnyObject) -> Int {
    var dropped = 0
    waitingReads.removeAll { read in
      guard read.owner === owner else { return false }
      dropped += read.piece.byteCount
      return true
    }
    return dropped
  }

  // MARK: Progress

  package func flush(budget: Int) -> Bool {
    repeat {
      guard !isSpoilt, endpoint.poll() else { return false }
      settle()
      // Broken, with input left to be taken: what waits can never go out.
      if endpoint.fault != nil { return queuedBytes == 0 && endpoint.hasBufferedInput }
    } while feed()
    return true
  }

  package func finishSending() { endpoint.finishSending() }

  /// Takes note of what is over.
  private func settle() {
    for completion in endpoint.takeCompletions() {
      guard let transfer = underWay.popFirst(), transfer.token == completion.token else {
        preconditionFailure("a queue pair does its work in order")
      }
      if let arrived = transfer.arrived {
        readBytesUnderWay -= transfer.byteCount
        readBytes += UInt64(transfer.byteCount)
        arrived(transfer.byteCount)
      } else {
        writeBytesUnderWay -= transfer.byteCount
        writtenBytes += UInt64(transfer.byteCount)
      }
    }
  }

  /// Gives the device as much as it should have; true if that was anything.
  private func feed() -> Bool {
    var hasFed = feedReads()
    while endpoint.queuedBytes < Self.streamWindowBytes {
      if !isInsideMessage, let message = urgent.popFirst() {
        urgentBytes -= message.count
        endpoint.send(message)
      } else {
        guard !ordinary.isEmpty, feedOrdinary() else { break }
      }
      hasFed = true
    }
    return hasFed && !isSpoilt
  }

  private func feedReads() -> Bool {
    var hasFed = false
    while readBytesUnderWay < Self.windowBytes, let read = waitingReads.popFirst() {
      lastToken += 1
      guard
        endpoint.read(
          into: read.piece, fromAddress: read.address, key: read.key, token: lastToken,
          keeping: read.owner)
      else {
        isSpoilt = true
        return false
      }
      let count = read.piece.byteCount
      underWay.append(Transfer(token: lastToken, byteCount: count, arrived: read.arrived))
      readBytesUnderWay += count
      hasFed = true
    }
    return hasFed
  }

  /// Gives the device the first ordinary entry or a part of it; false if it must wait.
  private func feedOrdinary() -> Bool {
    if ordinary[0].isWrite, writeBytesUnderWay >= Self.windowBytes { return false }
    let (rest, endsMessage) = ordinary[0].bytes(
      from: sentOfFirst, max: Self.streamWindowBytes)
    if let rest {
      endpoint.send(rest)
      sentOfFirst += rest.count
      ordinaryBytes -= rest.count
      isInsideMessage = true
      guard sentOfFirst == ordinary[0].byteCount else { return true }
      isInsideMessage = !endsMessage
    }
    sentOfFirst = 0
    if case .write(let write) = ordinary.removeFirst() { give(write) }
    return true
  }

  private func give(_ write: RDMAWrite) {
    ordinaryWrites -= 1
    ordinaryBytes -= write.byteCount
    lastToken += 1
    guard
      endpoint.write(
        write.pieces, toAddress: write.address, key: write.key, token: lastToken,
        keeping: write.owner)
    else {
      isSpoilt = true
      return
    }
    underWay.append(Transfer(token: lastToken, byteCount: write.byteCount, arrived: nil))
    writeBytesUnderWay += write.byteCount
  }

  // MARK: Being watched

  package func watch(
    on loop: isolated Loop, for member: any LoopMember
  ) throws(TransportError) {
    let watcher = RDMAWatcher(link: self, member: member)
    watcher.token = try loop.watch(endpoint.channelNumber, for: watcher)
    self.watcher = watcher
    endpoint.member = watcher
  }

  /// Completions are always watched: WRITEs and READs go on though nothing is to be received.
  package func update(readable: Bool, writable: Bool, on loop: isolated Loop) {
    wantsInput = readable
  }

  /// Ends the link too: once this returns the device touches no memory for it any more.
  package func unwatch(on loop: isolated Loop) {
    if let watcher {
      loop.unwatch(watcher.token, endpoint.channelNumber)
      watcher.member = nil
    }
    watcher = nil
    endpoint.member = nil
    close()
  }

  /// Takes what the device has done; true if the session should look at its input, or the link's
  /// end.
  func hasNews() -> Bool {
    let isOver = !endpoint.poll()
    return isOver || (wantsInput && hasBufferedInput)
  }

  private func close() {
    isSpoilt = true
    endpoint.close()
    ended?()
    ended = nil
    urgent.removeAll()
    urgentBytes = 0
    while !ordinary.isEmpty { _ = ordinary.removeFirst() }
    ordinaryBytes = 0
    ordinaryWrites = 0
    waitingReads.removeAll()
    underWay.removeAll()
    writeBytesUnderWay = 0
    readBytesUnderWay = 0
  }

  /// A WRITE or READ that the device has been given.
  private struct Transfer {
    let token: UInt64
    let byteCount: Int
    /// Told of the bytes of a READ; nil for a WRITE.
    let arrived: ((Int) -> Void)?
  }
}
