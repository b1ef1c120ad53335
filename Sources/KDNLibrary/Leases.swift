public import CKDN
internal import KDNClient
internal import KDNWire

/// What is behind a `kdn_lease`.
final class LeaseHandle: Sendable {
  let client: ClientHandle
  let result: InPlaceResult

  init(_ result: InPlaceResult, of client: ClientHandle) {
    self.result = result
    self.client = client
  }

  /// What a pointer from outside means.
  ///
  /// - Throws: `invalid` for NULL, `forked` for a lease of the parent's.
  static func behind(_ pointer: OpaquePointer?) throws(Failure) -> LeaseHandle {
    guard let pointer = unsafe pointer else { throw .invalid("lease is NULL") }
    let handle = unsafe Unmanaged<LeaseHandle>.fromOpaque(UnsafeRawPointer(pointer))
      .takeUnretainedValue()
    try handle.client.checkProcess()
    return handle
  }

  /// The pieces of an item.
  ///
  /// - Throws: `invalid` if there is no such item.
  func pieces(of item: Int) throws(Failure) -> [UnsafeRawBufferPointer] {
    guard result.results.indices.contains(item) else {
      throw .invalid("item: \(UInt(bitPattern: item)) of \(result.results.count)")
    }
    return unsafe result.views(item)
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_lease_get(
  _ client: OpaquePointer?, _ items: UnsafeRawPointer?, _ itemsLength: Int, _ count: Int,
  _ leaseMilliseconds: UInt32, _ flags: UInt32, _ deadlineMilliseconds: UInt32,
  _ results: UnsafeMutablePointer<kdn_get_result>?,
  _ lease: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
  call { () throws(Failure) in
    let handle = unsafe try ClientHandle.behind(client)
    guard let lease = unsafe lease else { throw .invalid("lease is NULL") }
    unsafe lease.pointee = nil
    guard let results = unsafe results else { throw .invalid("results is NULL") }
    let batch = unsafe try ItemBatch(items, itemsLength, count, flags, handle)
    let found = try handle.request { (connection) throws(ClientError) in
      try connection.getInPlace(
        batch.items, leaseMilliseconds: leaseMilliseconds, flags: batch.flags,
        deadlineMilliseconds: deadlineMilliseconds)
    }
    unsafe write(found.results, to: results)
    unsafe lease.pointee = OpaquePointer(
      Unmanaged.passRetained(LeaseHandle(found, of: handle)).toOpaque())
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_lease_pieces(_ lease: OpaquePointer?, _ item: Int) -> Int {
  var count = 0
  _ = call { () throws(Failure) in
    count = unsafe try LeaseHandle.behind(lease).pieces(of: item).count
  }
  return count
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_lease_piece(
  _ lease: OpaquePointer?, _ item: Int, _ piece: Int,
  _ pointer: UnsafeMutablePointer<UnsafeRawPointer?>?, _ length: UnsafeMutablePointer<Int>?
) -> Int32 {
  call { () throws(Failure) in
    let pieces = unsafe try LeaseHandle.behind(lease).pieces(of: item)
    guard let pointer = unsafe pointer, let length = unsafe length else {
      throw .invalid("pointer or length is NULL")
    }
    guard unsafe pieces.indices.contains(piece) else {
      throw .invalid("piece: \(UInt(bitPattern: piece)) of \(unsafe pieces.count)")
    }
    unsafe pointer.pointee = pieces[piece].baseAddress
    unsafe length.pointee = pieces[piece].count
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_lease_is_held(_ lease: OpaquePointer?) -> Int32 {
  var isHeld = false
  _ = call { () throws(Failure) in
    let handle = unsafe try LeaseHandle.behind(lease)
    isHeld = try handle.client.use { (connection) throws(Failure) in
      connection.holds(handle.result)
    }
  }
  return isHeld ? 1 : 0
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_lease_release(_ lease: OpaquePointer?) {
  _ = call { () throws(Failure) in
    guard let pointer = unsafe lease else { return }
    // A child leaves the parent's lease alone.
    let handle = unsafe try LeaseHandle.behind(lease)
    unsafe Unmanaged<LeaseHandle>.fromOpaque(UnsafeRawPointer(pointer)).release()
    try handle.client.request { (connection) throws(ClientError) in
      guard connection.isOpen else { return }
      try connection.release(handle.result)
    }
  }
}
