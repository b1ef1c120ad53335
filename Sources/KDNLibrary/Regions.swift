internal import CKDN
internal import KDNClient
internal import KDNCore

/// What is behind a `kdn_region`.
final class RegionHandle: Sendable {
  // Safe because: it is only used under the client's lock.
  private struct Held: @unchecked Sendable {
    let region: RegisteredRegion
  }

  let client: ClientHandle
  private let addresses: Range<UInt64>
  private let held: Held

  init(
    _ region: RegisteredRegion, at address: UInt64, byteCount: Int, of client: ClientHandle
  ) {
    held = Held(region: region)
    addresses = address..<address + UInt64(byteCount)
    self.client = client
  }

  /// The handle for outside.
  var pointer: OpaquePointer {
    unsafe OpaquePointer(Unmanaged.passRetained(self).toOpaque())
  }

  /// What a pointer from outside means.
  ///
  /// - Throws: `forked` for a region of the parent's.
  static func behind(_ pointer: OpaquePointer) throws(Failure) -> RegionHandle {
    let handle = unsafe Unmanaged<RegionHandle>.fromOpaque(UnsafeRawPointer(pointer))
      .takeUnretainedValue()
    try handle.client.checkProcess()
    return handle
  }

  func release() throws(Failure) {
    try client.use { (_) throws(Failure) in held.region.release() }
  }

  /// - Throws: `invalid` if it is another client's, or not over all of `buffer`.
  func check(_ buffer: UnsafeMutableRawBufferPointer, _ client: ClientHandle) throws(Failure) {
    guard self.client === client else { throw .invalid("region: another client's") }
    let start = UInt64(UInt(bitPattern: buffer.baseAddress))
    let (end, overflows) = start.addingReportingOverflow(UInt64(buffer.count))
    guard !overflows, start >= addresses.lowerBound, end <= addresses.upperBound else {
      throw .invalid("region: not over all of its buffer")
    }
  }
}

/// Buffers of one request, with the regions that the caller says they lie in.
// Safe because: it only carries the places, which whoever uses them calls unsafe.
@safe struct BufferBatch {
  @unsafe private(set) var rooms: [UnsafeMutableRawBufferPointer] = unsafe []
  private(set) var byteCount = 0

  /// Adds a buffer.
  ///
  /// - Throws: `invalid` naming `name` if it lies nowhere, or `region` if that is not over it.
  mutating func add(
    _ buffer: kdn_buffer, _ name: String, _ client: ClientHandle
  ) throws(Failure) {
    let room = unsafe try CallerBytes.room(buffer.pointer, buffer.length, name)
    let (sum, overflows) = byteCount.addingReportingOverflow(room.count)
    guard !overflows else { throw .invalid("\(name): more bytes than there are") }
    byteCount = sum
    unsafe rooms.append(room)
    guard let pointer = unsafe buffer.region else { return }
    unsafe try RegionHandle.behind(pointer).check(room, client)
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_region_register(
  _ client: OpaquePointer?, _ pointer: UnsafeMutableRawPointer?, _ length: Int,
  _ region: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
  call { () throws(Failure) in
    let handle = unsafe try ClientHandle.behind(client)
    guard let region = unsafe region else { throw .invalid("region is NULL") }
    unsafe region.pointee = nil
    let room = unsafe try CallerBytes.room(pointer, length, "pointer")
    guard unsafe !room.isEmpty else { throw .invalid("length: a region has bytes") }
    let address = UInt64(UInt(bitPattern: room.baseAddress))
    guard address.addingReportingOverflow(UInt64(length)).overflow == false else {
      throw .invalid("length: more bytes than there are")
    }
    let made = try handle.request { (connection) throws(ClientError) in
      RegionHandle(
        unsafe try connection.register(room), at: address, byteCount: length, of: handle)
    }
    unsafe region.pointee = made.pointer
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_region_register_dmabuf(
  _ client: OpaquePointer?, _ descriptor: Int32, _ offset: UInt64, _ length: Int,
  _ address: UInt64, _ region: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
  call { () throws(Failure) in
    let handle = unsafe try ClientHandle.behind(client)
    guard let region = unsafe region else { throw .invalid("region is NULL") }
    unsafe region.pointee = nil
    guard descriptor >= 0 else { throw .invalid("descriptor: \(descriptor)") }
    guard length > 0, !address.addingReportingOverflow(UInt64(length)).overflow else {
      throw .invalid("length: \(UInt(bitPattern: length)) bytes at \(address)")
    }
    let made = try handle.request { (connection) throws(ClientError) in
      RegionHandle(
        try connection.register(
          dmabuf: descriptor, offset: offset, byteCount: length, address: address),
        at: address, byteCount: length, of: handle)
    }
    unsafe region.pointee = made.pointer
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_region_release(_ region: OpaquePointer?) {
  _ = call { () throws(Failure) in
    guard let pointer = unsafe region else { return }
    // A child leaves the parent's registration alone.
    let handle = unsafe try RegionHandle.behind(pointer)
    unsafe Unmanaged<RegionHandle>.fromOpaque(UnsafeRawPointer(pointer)).release()
    try handle.release()
  }
}
