package import KDNMemory

/// What a session speaks through: a stream of messages, over a socket or a queue pair.
///
/// A *message* is a run of bytes that must not be interrupted. Urgent messages go ahead of
/// ordinary ones that have not begun. All calls come from one loop, the one that watches.
package protocol SessionLink: AnyObject {
  /// Bytes that wait to be sent.
  var queuedBytes: Int { get }
  /// Descriptors that wait to be sent, or perhaps to be read by the other side.
  var queuedDescriptors: Int { get }
  /// True while the kernel takes no descriptor, for what others have not read: no event tells when
  /// that is over, so `flush` is to be called again soon.
  var isShortOfDescriptors: Bool { get }
  /// All bytes of the stream sent so far, without what encryption or the fabric adds.
  var sentBytes: UInt64 { get }
  /// All bytes of the stream received so far.
  var receivedBytes: UInt64 { get }
  /// True while the link must be watched for room to write.
  var wantsToWrite: Bool { get }
  /// True if bytes have arrived that `receive` has not given out: no event will tell of them.
  var hasBufferedInput: Bool { get }
  /// How far the agreement on keys has come.
  var handshake: HandshakeState { get }
  /// Why the handshake failed, or what broke the link inside it; empty otherwise.
  var handshakeFailure: String { get }
  /// What a verified client certificate names; empty without one.
  var peerNames: [String] { get }
  /// Where the connection comes from.
  var peerAddress: PeerAddress { get }
  /// Who made the other end, by the kernel's word; nil if it is no process of this host.
  var peerCredentials: PeerCredentials? { get }
  /// Where the connection was accepted; nil if the kernel does not tell.
  var localEndpoint: Endpoint? { get }
  /// What secures the link, for logs; nil if nothing does.
  var securityDescription: String? { get }

  /// Begins to be watched on `loop` for what can be read; `member` hears of it.
  ///
  /// - Throws: if the kernel refuses.
  func watch(on loop: isolated Loop, for member: any LoopMember) throws(TransportError)
  /// Chooses what the link is watched for; without effect while it is not watched.
  func update(readable: Bool, writable: Bool, on loop: isolated Loop)
  /// Ends the watch; without effect while there is none.
  func unwatch(on loop: isolated Loop)

  /// Receives into `first`, which must not be empty, and into `second` when `first` is full.
  @unsafe func receive(
    into first: UnsafeMutableRawBufferPointer, then second: UnsafeMutableRawBufferPointer
  ) -> Reception
  /// Queues a message of plain bytes; `isUrgent` lets it pass ordinary ones.
  func send(_ bytes: [UInt8], isUrgent: Bool)
  /// Queues an urgent message whose first byte carries `descriptor`, which is taken over and
  /// closed; only over a plain Unix socket.
  func send(_ bytes: [UInt8], passing descriptor: Int32)
  /// Queues the front of an ordinary message that `sendBorrowed` continues and ends.
  func beginMessage(_ bytes: [UInt8])
  /// Queues bytes in place; readable until a lease that `keep` takes later is dropped.
  @unsafe func sendBorrowed(_ bytes: UnsafeRawBufferPointer, endsMessage: Bool)
  /// Holds `lease` until everything queued before it has been sent.
  func keep(_ lease: consuming Lease)
  /// Sends as much as can go now, at most about `budget` bytes; false if the connection broke.
  func flush(budget: Int) -> Bool
  /// Tells the other side that nothing follows; called when nothing is queued.
  func finishSending()
}

extension SessionLink {
  /// Most bytes that one turn sends, so that other members get theirs.
  package static var flushBytesMax: Int { 16 << 20 }

  /// False: most links pass no descriptors.
  package var isShortOfDescriptors: Bool { false }

  /// Sends as much as can go in one turn; false if the connection broke.
  package func flush() -> Bool { flush(budget: Self.flushBytesMax) }

  /// Receives into `buffer`, which must not be empty.
  @unsafe package func receive(into buffer: UnsafeMutableRawBufferPointer) -> Reception {
    unsafe receive(into: buffer, then: UnsafeMutableRawBufferPointer(start: nil, count: 0))
  }
}
