internal import CUring
internal import Glibc

/// A ring of the kernel's io_uring; used by one thread, which made it and takes it down.
// Safe because: the one thread is the caller's promise; nothing here is Sendable.
@safe final class UringRing {
  private let ring: UnsafeMutablePointer<io_uring>
  private var memory = RegisteredMemory()

  /// Makes a ring with places for `entries` works under way.
  ///
  /// - Throws: what the kernel says: it lacks io_uring, forbids it, or lets have no more memory.
  init(entries: Int) throws(DiskError) {
    let made = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
    unsafe made.initialize(to: io_uring())
    let result = unsafe kdn_uring_setup(made, UInt32(entries))
    guard result == 0 else {
      unsafe made.deallocate()
      throw DiskError(call: "io_uring_setup", file: "", code: -result)
    }
    // Only now: from here on the ring is taken down, even if this threw.
    unsafe ring = made
    // Works that would wait are left to threads of the kernel, of which few are the default.
    unsafe kdn_uring_threads(ring, UInt32(entries))
  }

  deinit {
    unsafe io_uring_queue_exit(ring)
    unsafe ring.deallocate()
  }

  /// Lets the kernel keep hold of memory, so that it need not find its pages anew for every work;
  /// works elsewhere go on as before.
  ///
  /// - Throws: what the kernel says, `ENOMEM` where too little memory may be locked; then none is.
  func register(_ memory: RegisteredMemory) throws(DiskError) {
    let ranges = unsafe memory.ranges.map { range in
      unsafe iovec(
        iov_base: UnsafeMutableRawPointer(bitPattern: range.lowerBound), iov_len: range.count)
    }
    let result = unsafe io_uring_register_buffers(ring, ranges, UInt32(ranges.count))
    guard result == 0 else {
      throw DiskError(call: "io_uring_register_buffers", file: "", code: -result)
    }
    self.memory = memory
  }

  /// Prepares what is left to do of a transfer; `token` comes back with the result.
  ///
  /// The transfer and its memory stay until then.
  func prepare(_ transfer: UringTransfer, token: UInt64) {
    let place = unsafe place(token)
    let descriptor = transfer.file.descriptor
    precondition(descriptor >= 0, "io_uring needs files of the kernel")
    switch transfer.action {
    case .read(let vector):
      unsafe prepareRead(place, descriptor, vector, at: transfer.offset)
    case .write(let vector):
      unsafe prepareWrite(place, descriptor, vector, at: transfer.offset)
    case .synchronise:
      unsafe kdn_uring_datasync(place, descriptor)
    }
    unsafe kdn_uring_mark(place, token)
    if transfer.mayWait { unsafe kdn_uring_may_wait(place) }
  }

  /// Prepares one result with `token` for when `descriptor` can be read.
  func prepareWatch(of descriptor: Int32, token: UInt64) {
    let place = unsafe place(token)
    unsafe kdn_uring_poll(place, descriptor)
    unsafe kdn_uring_mark(place, token)
  }

  /// Starts what was prepared.
  func submit() {
    guard unsafe io_uring_sq_ready(ring) > 0 else { return }
    check(unsafe io_uring_submit(ring))
  }

  /// Starts what was prepared and waits for a result.
  func submitAndWait() {
    check(unsafe io_uring_submit_and_wait(ring, 1))
  }

  /// The oldest result that was not taken yet, without waiting.
  func next() -> (token: UInt64, result: Int32)? {
    guard let entry = unsafe kdn_uring_peek(ring) else { return nil }
    let result = unsafe (kdn_uring_token(entry), entry.pointee.res)
    unsafe kdn_uring_seen(ring, entry)
    return result
  }

  private func place(_ token: UInt64) -> UnsafeMutablePointer<io_uring_sqe> {
    guard let place = unsafe kdn_uring_place(ring) else {
      preconditionFailure("more works under way than the ring has places")
    }
    return unsafe place
  }

  private func prepareRead(
    _ place: UnsafeMutablePointer<io_uring_sqe>, _ descriptor: Int32, _ vector: IOVector,
    at offset: Int
  ) {
    let piece = unsafe vector.next.pointee
    if vector.count == 1, let index = unsafe memory.index(of: piece) {
      unsafe io_uring_prep_read_fixed(
        place, descriptor, piece.iov_base, RegisteredMemory.length(of: piece), UInt64(offset), index
      )
    } else {
      unsafe io_uring_prep_readv(
        place, descriptor, vector.next, UInt32(vector.count), UInt64(offset))
    }
  }

  private func prepareWrite(
    _ place: UnsafeMutablePointer<io_uring_sqe>, _ descriptor: Int32, _ vector: IOVector,
    at offset: Int
  ) {
    let piece = unsafe vector.next.pointee
    if vector.count == 1, let index = unsafe memory.index(of: piece) {
      unsafe io_uring_prep_write_fixed(
        place, descriptor, piece.iov_base, RegisteredMemory.length(of: piece), UInt64(offset), index
      )
    } else {
      unsafe io_uring_prep_writev(
        place, descriptor, vector.next, UInt32(vector.count), UInt64(offset))
    }
  }

  private func check(_ result: Int32) {
    guard result < 0 else { return }
    switch -result {
    case EINTR: return
    case EAGAIN, EBUSY: _ = sched_yield()  // What was not started stays prepared.
    default: preconditionFailure("io_uring_enter: errno \(-result)")
    }
  }
}
