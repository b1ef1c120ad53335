internal import CIBVerbs
internal import CRDMACM
internal import Glibc

/// A reliable connection's queues on a device, and the channel that tells of completions.
// Safe because: it stays with one loop or one thread, and its pointers end with `destroy`.
@safe final class RDMAQueuePair {
  /// Completions taken at once.
  private static let batch = 32
  /// Short messages may go with their work request; what devices take differs.
  private static let inlineBytesWanted: [UInt32] = [256, 64, 0]
  /// Pieces that one work request may name, if the device takes so many.
  private static let piecesWanted: Int32 = 4

  let identifier: RDMAIdentifier
  let context: RDMAContext
  let receives: RDMAReceives
  /// Work requests that fit the send queue.
  let depth: Int
  /// Pieces that a write may name; a read may name one.
  let piecesPerWrite: Int
  /// Longest message that goes with its work request.
  private(set) var inlineBytes = 0
  private let channel: UnsafeMutablePointer<ibv_comp_channel>
  private let completions: UnsafeMutablePointer<ibv_cq>
  private var isDestroyed = false

  /// Makes the queues and posts the receives, if they are this connection's own.
  ///
  /// - Throws: the call that failed; nothing of it stays.
  init(
    identifier: RDMAIdentifier, context: RDMAContext, receives: RDMAReceives
  ) throws(RDMAFault) {
    self.identifier = identifier
    self.context = context
    self.receives = receives
    depth = min(RDMASettings.sendDepth, max(1, Int(context.attributes.max_qp_wr)))
    piecesPerWrite = Int(max(1, min(Self.piecesWanted, context.attributes.max_sge)))
    let subject = context.deviceName
    guard let channel = unsafe ibv_create_comp_channel(context.verbs) else {
      throw .last("ibv_create_comp_channel", subject)
    }
    // Room for all that can ever complete between two looks: it cannot overrun.
    let entries = Int32(depth + receives.slots.count)
    guard let completions = unsafe ibv_create_cq(context.verbs, entries, nil, channel, 0) else {
      let fault = RDMAFault.last("ibv_create_cq", subject)
      _ = unsafe ibv_destroy_comp_channel(channel)
      throw fault
    }
    unsafe self.channel = channel
    unsafe self.completions = completions
    try prepare()
  }

  deinit { destroy() }

  private func prepare() throws(RDMAFault) {
    let flags = fcntl(channelNumber, F_GETFL)
    guard fcntl(channelNumber, F_SETFL, flags | O_NONBLOCK) == 0 else { throw .last("fcntl") }
    _ = fcntl(channelNumber, F_SETFD, FD_CLOEXEC)
    try createPair()
    let armed = unsafe ibv_req_notify_cq(completions, 0)
    guard armed == 0 else { throw .of(armed, "ibv_req_notify_cq", context.deviceName) }
    guard unsafe receives.shared == nil else { return }
    for slot in 0..<receives.slots.count {
      let posted = unsafe receives.post(slot, to: identifier.pointer.pointee.qp)
      guard posted == 0 else { throw .of(posted, "ibv_post_recv", context.deviceName) }
    }
  }

  private func createPair() throws(RDMAFault) {
    var fault = RDMAFault.noDevice
    for inlineBytes in Self.inlineBytesWanted {
      var attributes = unsafe ibv_qp_init_attr()
      unsafe attributes.send_cq = completions
      unsafe attributes.recv_cq = completions
      unsafe attributes.srq = receives.shared
      unsafe attributes.qp_type = IBV_QPT_RC
      unsafe attributes.cap.max_send_wr = UInt32(depth)
      let own = unsafe receives.shared == nil ? receives.slots.count : 0
      unsafe attributes.cap.max_recv_wr = UInt32(own)
      unsafe attributes.cap.max_send_sge = UInt32(piecesPerWrite)
      unsafe attributes.cap.max_recv_sge = 1
      unsafe attributes.cap.max_inline_data = inlineBytes
      let made = unsafe rdma_create_qp(identifier.pointer, context.domain, &attributes)
      guard made != 0 else {
        self.inlineBytes = Int(inlineBytes)
        return
      }
      fault = .of(made, "rdma_create_qp", context.deviceName)
    }
    throw fault
  }

  /// Readable when there is something to poll.
  var channelNumber: Int32 { unsafe channel.pointee.fd }

  /// Lets the other side try again soon after it found no receive, and not after 655 ms; and lets
  /// it reach none of this side's memory if `deniesAccess`.
  ///
  /// Neither is needed for safety: credits keep receives there, and regions grant what they grant.
  func tune(deniesAccess: Bool) {
    var attributes = ibv_qp_attr()
    attributes.min_rnr_timer = 12  // 0.64 ms
    let pair = unsafe identifier.pointer.pointee.qp
    _ = unsafe ibv_modify_qp(pair, &attributes, Int32(IBV_QP_MIN_RNR_TIMER.rawValue))
    guard deniesAccess, !context.isIWARP else { return }
    attributes.qp_access_flags = 0
    _ = unsafe ibv_modify_qp(pair, &attributes, Int32(IBV_QP_ACCESS_FLAGS.rawValue))
  }

  // MARK: Completions

  /// Takes what the channel tells, and asks to be told again.
  func acknowledgeEvents() {
    guard !isDestroyed else { return }
    var count: UInt32 = 0
    var queue: UnsafeMutablePointer<ibv_cq>?
    var context: UnsafeMutableRawPointer?
    while unsafe ibv_get_cq_event(channel, &queue, &context) == 0 { count += 1 }
    guard count > 0 else { return }
    unsafe ibv_ack_cq_events(completions, count)
    _ = unsafe ibv_req_notify_cq(completions, 0)
  }

  /// Gives each completion there is to `body`; false if the queue is of no use any more.
  func poll(_ body: (ibv_wc) -> Void) -> Bool {
    guard !isDestroyed else { return false }
    return unsafe withUnsafeTemporaryAllocation(of: ibv_wc.self, capacity: Self.batch) { batch in
      while true {
        let count = unsafe ibv_poll_cq(completions, Int32(Self.batch), batch.baseAddress)
        guard count > 0 else { return count == 0 }
        for index in 0..<Int(count) { unsafe body(batch[index]) }
      }
    }
  }

  // MARK: Posting

  /// Gives a receive back to the device; false if it refuses.
  func repost(_ slot: Int) -> Bool {
    unsafe receives.post(slot, to: identifier.pointer.pointee.qp) == 0
  }

  /// Sends a message from registered memory; 0 or an errno.
  func send(_ entry: ibv_sge, number: UInt64) -> Int32 {
    var entry = entry
    let isInline = Int(entry.length) <= inlineBytes
    return unsafe withUnsafeMutablePointer(to: &entry) { entry in
      var request = unsafe ibv_send_wr()
      unsafe request.wr_id = number
      unsafe request.sg_list = entry
      unsafe request.num_sge = 1
      unsafe request.opcode = IBV_WR_SEND
      unsafe request.send_flags =
        IBV_SEND_SIGNALED.rawValue | (isInline ? IBV_SEND_INLINE.rawValue : 0)
      var bad: UnsafeMutablePointer<ibv_send_wr>?
      return unsafe abs(ibv_post_send(identifier.pointer.pointee.qp, &request, &bad))
    }
  }

  /// Posts a chain of one-sided work requests of one transfer, the last of them signalled; 0 or an
  /// errno, with which some may have been posted.
  func post(
    _ requests: [RDMAChain.Request], of transfer: RDMATransfer, number: UInt64
  ) -> Int32 {
    let entryCount = requests.reduce(0) { $0 + $1.parts.count }
    return unsafe withUnsafeTemporaryAllocation(of: ibv_sge.self, capacity: entryCount) { entries in
      unsafe withUnsafeTemporaryAllocation(
        of: ibv_send_wr.self, capacity: requests.count
      ) { chain in
        var used = 0
        for (index, request) in requests.enumerated() {
          let start = used
          for part in request.parts {
            unsafe entries[used] = transfer.entry(part)
            used += 1
          }
          let isLast = index == requests.count - 1
          var made = unsafe ibv_send_wr()
          unsafe made.wr_id = number
          unsafe made.sg_list = entries.baseAddress.map { unsafe $0 + start }
          unsafe made.num_sge = Int32(request.parts.count)
          unsafe made.opcode = transfer.direction.code
          unsafe made.send_flags = isLast ? IBV_SEND_SIGNALED.rawValue : 0
          unsafe made.wr.rdma.remote_addr = transfer.remoteAddress + UInt64(request.remoteOffset)
          unsafe made.wr.rdma.rkey = transfer.remoteKey
          unsafe made.next = isLast ? nil : chain.baseAddress.map { unsafe $0 + index + 1 }
          unsafe (chain.baseAddress.map { unsafe $0 + index })?.initialize(to: made)
        }
        var bad: UnsafeMutablePointer<ibv_send_wr>?
        return unsafe abs(
          ibv_post_send(identifier.pointer.pointee.qp, chain.baseAddress, &bad))
      }
    }
  }

  // MARK: The end

  /// Ends the queues; when it returns, the device touches no memory on their behalf.
  func destroy() {
    guard !isDestroyed else { return }
    // Messages that came are lost, but the receives they took belong to others too; and what a
    // device has to tell of a pair, it may forget with the pair.
    acknowledgeEvents()
    identifier.disconnect()
    salvage()
    if unsafe identifier.pointer.pointee.qp != nil { unsafe rdma_destroy_qp(identifier.pointer) }
    salvage()
    acknowledgeEvents()
    isDestroyed = true
    _ = unsafe ibv_destroy_cq(completions)
    _ = unsafe ibv_destroy_comp_channel(channel)
  }

  private func salvage() {
    guard unsafe receives.shared != nil else { return }
    _ = poll { completion in
      if let slot = RDMAWorkID.slot(completion.wr_id) { _ = repost(slot) }
    }
  }
}
