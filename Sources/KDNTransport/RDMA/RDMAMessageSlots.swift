internal import CIBVerbs
internal import Glibc
internal import KDNMemory

/// Registered memory cut into slots of one message each.
final class RDMAMessageSlots {
  /// How many there are.
  let count: Int
  /// Length of each in bytes.
  let slotBytes: Int
  private let memory: PageBuffer
  private let region: RDMARegion

  /// Takes and registers the memory.
  ///
  /// - Throws: if it cannot be registered.
  init(count: Int, slotBytes: Int, in context: RDMAContext) throws(RDMAFault) {
    self.count = count
    self.slotBytes = slotBytes
    memory = PageBuffer(byteCount: count * slotBytes)
    region = unsafe try RDMARegion(memory.bytes, access: [], in: context)
  }

  /// The bytes of a slot.
  @unsafe subscript(slot: Int) -> UnsafeMutableRawBufferPointer {
    precondition(slot >= 0 && slot < count, "no such slot")
    let start = slot * slotBytes
    return unsafe UnsafeMutableRawBufferPointer(rebasing: memory.bytes[start..<start + slotBytes])
  }

  /// The front of a slot as a device is told of it.
  func entry(_ slot: Int, byteCount: Int) -> ibv_sge {
    precondition(byteCount <= slotBytes, "more than a slot holds")
    return unsafe ibv_sge(
      addr: UInt64(UInt(bitPattern: self[slot].baseAddress)), length: UInt32(byteCount),
      lkey: region.localKey)
  }
}

/// Receives posted for messages: those of one connection, or one queue that many share.
///
/// A slot is given back to the device as soon as its message has been copied out, so that a
/// connection that is not read keeps nobody else's messages away.
// Safe because: it stays on the loop of its connections, and the pointer never changes.
@safe final class RDMAReceives {
  let slots: RDMAMessageSlots
  /// The queue that connections share; nil if these are the receives of one connection.
  let shared: UnsafeMutablePointer<ibv_srq>?

  /// Receives of one connection; `post` them to its queue pair.
  init(count: Int, messageBytes: Int, in context: RDMAContext) throws(RDMAFault) {
    slots = try RDMAMessageSlots(count: count, slotBytes: messageBytes, in: context)
    unsafe shared = nil
  }

  /// Receives that many connections share, posted at once.
  ///
  /// - Throws: if the device has no such queue, or refuses it.
  init(
    sharedCount count: Int, messageBytes: Int, in context: RDMAContext
  ) throws(RDMAFault) {
    let most = Int(context.attributes.max_srq_wr)
    guard context.attributes.max_srq > 0, most > 0 else {
      throw .system(call: "ibv_create_srq", code: ENOTSUP, subject: context.deviceName)
    }
    slots = try RDMAMessageSlots(
      count: min(count, most), slotBytes: messageBytes, in: context)
    var attributes = unsafe ibv_srq_init_attr()
    unsafe attributes.attr.max_wr = UInt32(slots.count)
    unsafe attributes.attr.max_sge = 1
    guard let queue = unsafe ibv_create_srq(context.domain, &attributes) else {
      throw .last("ibv_create_srq", context.deviceName)
    }
    unsafe shared = queue
    for slot in 0..<slots.count {
      guard unsafe post(slot, to: nil) == 0 else { throw .last("ibv_post_srq_recv") }
    }
  }

  deinit {
    if let queue = unsafe shared { _ = unsafe ibv_destroy_srq(queue) }
  }

  /// Gives a slot to the device; 0, or an errno.
  @unsafe func post(_ slot: Int, to pair: UnsafeMutablePointer<ibv_qp>?) -> Int32 {
    var entry = slots.entry(slot, byteCount: slots.slotBytes)
    return unsafe withUnsafeMutablePointer(to: &entry) { entry in
      var request = unsafe ibv_recv_wr()
      unsafe request.wr_id = RDMAWorkID.receive(slot)
      unsafe request.sg_list = entry
      unsafe request.num_sge = 1
      var bad: UnsafeMutablePointer<ibv_recv_wr>?
      if let queue = unsafe shared { return unsafe ibv_post_srq_recv(queue, &request, &bad) }
      guard let pair = unsafe pair else { return EINVAL }
      return unsafe ibv_post_recv(pair, &request, &bad)
    }
  }
}

/// What a work request's number tells when it has ended, since of a failed one nothing else does.
enum RDMAWorkID {
  private static let receiveBit: UInt64 = 1 << 63

  /// The number of a receive into `slot`.
  static func receive(_ slot: Int) -> UInt64 { UInt64(slot) | receiveBit }

  /// The slot of a receive; nil for what was sent.
  static func slot(_ number: UInt64) -> Int? {
    number & receiveBit == 0 ? nil : Int(number & ~receiveBit)
  }
}
