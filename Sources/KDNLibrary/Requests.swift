public import CKDN
internal import Glibc
internal import KDNClient
internal import KDNCore
internal import KDNWire

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_request(
  _ client: OpaquePointer?, _ operation: UInt8, _ body: UnsafeRawPointer?, _ bodyLength: Int,
  _ deadlineMilliseconds: UInt32, _ reply: UnsafeMutableRawPointer?, _ replyRoom: Int,
  _ replyLength: UnsafeMutablePointer<Int>?
) -> Int32 {
  call { () throws(Failure) in
    let handle = unsafe try ClientHandle.behind(client)
    guard let replyLength = unsafe replyLength else { throw .invalid("reply_length is NULL") }
    unsafe replyLength.pointee = 0
    let bytes = unsafe try CallerBytes.read(body, bodyLength, "body")
    let room = unsafe try CallerBytes.room(reply, replyRoom, "reply")
    let answer = try answer(operation, bytes, deadlineMilliseconds, handle)
    unsafe replyLength.pointee = answer.count
    guard answer.count <= room.count else {
      throw Failure(
        KDN_NO_ROOM, "the answer has \(answer.count) bytes, the room \(room.count)")
    }
    unsafe room.copyBytes(from: answer)
  }
}

private func answer(
  _ number: UInt8, _ body: [UInt8], _ deadlineMilliseconds: UInt32, _ handle: ClientHandle
) throws(Failure) -> [UInt8] {
  let operation = Operation(rawValue: number)
  switch operation {
  case .hello:
    return try handle.use { (connection) throws(Failure) in encoded(connection.hello) }
  case .layout, .match, .exists, .release, .touch, .pin, .unpin, .prefetch, .purge, .stats,
    .document, .compose, .edit, .work, .linkTicket, .codecProfile:
    break
  case .get, .putBegin, .putData, .putCommit, .putAbort, .mapSlab, .openWindow, .goAway, nil:
    throw .invalid("operation: \(number) has functions of its own, or there is none")
  }
  guard let operation else { throw .invalid("operation: \(number)") }
  let limits = try handle.use { (connection) throws(Failure) in connection.hello.limits }
  let request: Request
  do throws(FieldFault) {
    request = try Request.decode(operation, body: ByteReader(body), limits: limits)
  } catch {
    throw Failure(error)
  }
  return try handle.request { (connection) throws(ClientError) in
    encoded(try connection.request(request, deadlineMilliseconds: deadlineMilliseconds))
  }
}

private func encoded(_ body: some FrameBody) -> [UInt8] {
  var writer = ByteWriter(capacity: 256)
  body.write(to: &writer)
  return writer.bytes
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_match(
  _ client: OpaquePointer?, _ query: UnsafePointer<kdn_match_query>?,
  _ result: UnsafeMutablePointer<kdn_match_result>?
) -> Int32 {
  call { () throws(Failure) in
    let handle = unsafe try ClientHandle.behind(client)
    guard let query = unsafe query?.pointee else { throw .invalid("query is NULL") }
    guard let result = unsafe result else { throw .invalid("result is NULL") }
    let limits = try handle.use { (connection) throws(Failure) in connection.hello.limits }
    let request = unsafe try matchRequest(query, limits)
    let answer = try handle.request { (connection) throws(ClientError) in
      try Client(connection).match(
        request, deadlineMilliseconds: unsafe query.deadline_ms)
    }
    unsafe result.pointee = kdn_match_result(
      matched_chunks: UInt32(clamping: answer.matchedChunks),
      miss_cause: UInt32(answer.miss?.rawValue ?? 0), gpu_chunks: answer.tiers.gpu,
      ram_chunks: answer.tiers.ram, disk_chunks: answer.tiers.disk,
      origin_chunks: answer.tiers.origin, matched_bytes: UInt64(clamping: answer.matchedBytes),
      estimate_us: answer.estimateMicroseconds, lease_id: answer.leaseID,
      lease_ms: answer.leaseMilliseconds, reserved: 0)
  }
}

/// Puts the body of MATCH together and has it checked like one from the wire.
private func matchRequest(
  _ query: kdn_match_query, _ limits: Limits
) throws(Failure) -> MatchRequest {
  guard unsafe query.size == MemoryLayout<kdn_match_query>.size else {
    throw .invalid("size: \(unsafe query.size) bytes of a query")
  }
  let flags = unsafe query.flags
  guard flags & ~UInt32(KDN_MATCH_LEASE) == 0, unsafe query.part_count <= UInt16.max,
    unsafe query.hash_count <= UInt32.max
  else { throw .invalid("flags, part_count or hash_count") }
  let parts = unsafe try CallerBytes.read(
    query.parts, of: query.part_count, each: 8, "parts")
  let hashes = unsafe try CallerBytes.read(
    query.hashes, of: query.hash_count, each: ChunkHash.byteCount, "hashes")
  var writer = ByteWriter(capacity: 32 + parts.count + hashes.count)
  writer.put(UInt32(unsafe query.hash_count))
  writer.put(UInt16(unsafe query.part_count))
  writer.put(UInt16(flags))
  writer.put(unsafe query.variant)
  writer.put(unsafe query.lease_ms)
  unsafe withUnsafeBytes(of: query.layout) { layout in
    writer.put(contentsOf: unsafe Array(layout))
  }
  writer.put(contentsOf: parts)
  writer.put(contentsOf: hashes)
  do throws(FieldFault) {
    var reader = ByteReader(writer.bytes)
    return try MatchRequest(from: &reader, limits: limits)
  } catch {
    throw Failure(error)
  }
}
