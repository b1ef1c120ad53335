public import CKDN
internal import Glibc
internal import KDNClient
internal import KDNCore
internal import KDNWire

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_get_into(
  _ client: OpaquePointer?, _ items: UnsafeRawPointer?, _ itemsLength: Int, _ count: Int,
  _ buffers: UnsafePointer<kdn_buffer>?, _ flags: UInt32, _ deadlineMilliseconds: UInt32,
  _ results: UnsafeMutablePointer<kdn_get_result>?
) -> Int32 {
  call { () throws(Failure) in
    let handle = unsafe try ClientHandle.behind(client)
    let given = unsafe try CallerBytes.array(buffers, count, "buffers")
    guard let results = unsafe results else { throw .invalid("results is NULL") }
    var places = BufferBatch()
    for index in given.indices { unsafe try places.add(given[index], "buffer", handle) }
    let batch = unsafe try ItemBatch(items, itemsLength, count, flags, handle)
    let answer = try handle.request { (connection) throws(ClientError) in
      unsafe try connection.get(
        batch.items, into: places.rooms, flags: batch.flags,
        deadlineMilliseconds: deadlineMilliseconds)
    }
    unsafe write(answer, to: results)
  }
}

/// Items of GET as the caller encoded them, checked.
struct ItemBatch {
  let items: [GetRequest.Item]
  let flags: GetRequest.Flags

  /// - Throws: `invalid` with the field at fault.
  init(
    _ start: UnsafeRawPointer?, _ length: Int, _ count: Int, _ flags: UInt32,
    _ handle: ClientHandle
  ) throws(Failure) {
    guard flags & ~UInt32(KDN_GET_WAIT | KDN_GET_UNVERIFIED) == 0 else {
      throw .invalid("flags: \(flags) has unknown bits")
    }
    let encoded = unsafe try CallerBytes.read(start, length, "items")
    let limits = try handle.use { (connection) throws(Failure) in connection.hello.limits }
    var writer = ByteWriter(capacity: 16 + encoded.count)
    writer.put(UInt32(clamping: count))
    writer.put(flags)
    // Raw bytes are all that is understood here.
    writer.put(UInt32(1))
    writer.put(UInt32(0))
    writer.put(contentsOf: encoded)
    do throws(FieldFault) {
      var reader = ByteReader(writer.bytes)
      let request = try GetRequest(from: &reader, limits: limits)
      items = request.items
      self.flags = request.flags
    } catch {
      throw Failure(error)
    }
  }
}

/// Tells what became of items.
func write(_ answer: [GetResult], to results: UnsafeMutablePointer<kdn_get_result>) {
  for (index, result) in answer.enumerated() {
    unsafe results[index] =
      switch result {
      case .hit(let bytes, let objectBytes, let checksum):
        kdn_get_result(
          outcome: KDN_HIT.rawValue, miss_cause: 0, bytes: UInt64(bytes),
          object_checksum: checksum.value, object_bytes: UInt64(objectBytes))
      case .encoded:
        preconditionFailure("callers of the library are sent raw bytes only")
      case .miss(let cause):
        kdn_get_result(
          outcome: KDN_MISS.rawValue, miss_cause: UInt32(cause.rawValue), bytes: 0,
          object_checksum: 0, object_bytes: 0)
      case .noRoom(let bytes):
        kdn_get_result(
          outcome: KDN_GET_NO_ROOM.rawValue, miss_cause: 0, bytes: UInt64(bytes),
          object_checksum: 0, object_bytes: 0)
      }
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_put_from(
  _ client: OpaquePointer?, _ puts: UnsafePointer<kdn_put>?, _ count: Int,
  _ deadlineMilliseconds: UInt32, _ results: UnsafeMutablePointer<kdn_put_result>?
) -> Int32 {
  call { () throws(Failure) in
    let handle = unsafe try ClientHandle.behind(client)
    let given = unsafe try CallerBytes.array(puts, count, "puts")
    guard let results = unsafe results else { throw .invalid("results is NULL") }
    var limits = try handle.use { (connection) throws(Failure) in connection.hello.limits }
    // What is too large is one item's refusal, not the batch's.
    limits.maxObjectBytes = .max
    var items: [PutItem] = unsafe []
    for index in given.indices { unsafe items.append(try item(given[index], limits, handle)) }
    let answer = try handle.request { (connection) throws(ClientError) in
      unsafe try connection.put(batch: items, deadlineMilliseconds: deadlineMilliseconds)
    }
    unsafe write(answer, to: results)
  }
}

/// One object of the caller's, checked.
private func item(
  _ put: kdn_put, _ limits: Limits, _ handle: ClientHandle
) throws(Failure) -> PutItem {
  guard unsafe put.flags & ~UInt32(KDN_PUT_CHECKSUM) == 0 else {
    throw .invalid("flags: \(unsafe put.flags) has unknown bits")
  }
  let body = unsafe try CallerBytes.read(put.facts, PutBeginRequest.byteCount, "facts")
  let facts: PutBeginRequest
  do throws(FieldFault) {
    var reader = ByteReader(body)
    facts = try PutBeginRequest(from: &reader, limits: limits)
  } catch {
    throw Failure(error)
  }
  var places = BufferBatch()
  let given = unsafe try CallerBytes.array(put.pieces, put.piece_count, "pieces")
  for index in given.indices { unsafe try places.add(given[index], "piece", handle) }
  guard places.byteCount == facts.totalBytes else {
    throw .invalid("pieces: \(places.byteCount) bytes, where totalBytes is \(facts.totalBytes)")
  }
  let isGiven = unsafe put.flags & UInt32(KDN_PUT_CHECKSUM) != 0
  let checksum = isGiven ? Checksum(unsafe put.checksum) : nil
  let filled = unsafe places.rooms.filter { unsafe !$0.isEmpty }
  let pieces = unsafe filled.map { UnsafeRawBufferPointer($0) }
  return unsafe PutItem(facts, pieces: pieces, checksum: checksum)
}

/// Tells what became of stores; of a refusal the thread's error tells more.
private func write(_ answer: [PutResult], to results: UnsafeMutablePointer<kdn_put_result>) {
  for (index, result) in answer.enumerated() {
    var told = kdn_put_result()
    switch result {
    case .stored(let state, let checksum):
      let outcome = state == .published ? KDN_PUBLISHED : KDN_PRESENT
      told.outcome = outcome.rawValue
      told.checksum = checksum.value
    case .refused(let status, let body):
      told.outcome = KDN_PUT_REFUSED.rawValue
      told.server_status = UInt32(status.rawValue)
      told.retry_after_ms = body.retryAfterMilliseconds
      _ = Failure(.refused(status, body)).record()
    }
    unsafe results[index] = told
  }
}
