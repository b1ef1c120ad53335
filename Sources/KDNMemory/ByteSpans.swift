package import KDNCore

/// Bytes lent to a closure as spans, for those who are not trusted with pointers.
extension Lease {
  /// Lends the bytes for reading while `body` runs.
  package func withBytes<Result>(_ body: (RawSpan) -> Result) -> Result {
    block.withBytes(body)
  }
}

extension Block {
  /// Lends the bytes for reading while `body` runs.
  package func withBytes<Result>(_ body: (RawSpan) -> Result) -> Result {
    let buffer = unsafe UnsafeRawBufferPointer(start: base, count: byteCount)
    return unsafe body(buffer.bytes)
  }
}

extension Reservation {
  /// Lends the bytes for writing while `body` runs.
  package func withBytes<Result>(_ body: (inout MutableRawSpan) -> Result) -> Result {
    let buffer = unsafe UnsafeMutableRawBufferPointer(start: base, count: byteCount)
    var bytes = unsafe buffer.mutableBytes
    return body(&bytes)
  }

  /// Writes all of `bytes`, of which there must be as many as there is room for.
  package func write(_ bytes: [UInt8]) {
    precondition(bytes.count == byteCount, "not as many bytes as there is room for")
    unsafe UnsafeMutableRawBufferPointer(start: base, count: byteCount).copyBytes(from: bytes)
  }

  /// XXH3-64 of the bytes written.
  package var checksum: Checksum {
    unsafe Checksum(of: UnsafeRawBufferPointer(start: base, count: byteCount))
  }
}

extension PageBuffer {
  /// Lends the first `count` bytes for writing while `body` runs.
  package func withBytes<Result>(
    first count: Int, _ body: (inout MutableRawSpan) -> Result
  ) -> Result {
    var bytes = unsafe UnsafeMutableRawBufferPointer(rebasing: self.bytes[..<count]).mutableBytes
    return body(&bytes)
  }

  /// XXH3-64 of the first `count` bytes.
  package func checksum(first count: Int) -> Checksum {
    unsafe Checksum(of: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
  }

  /// The first `count` bytes, copied.
  package func copy(first count: Int) -> [UInt8] {
    unsafe [UInt8](UnsafeRawBufferPointer(rebasing: bytes[..<count]))
  }
}

extension Block {
  /// XXH3-64 of the bytes.
  package var checksum: Checksum {
    unsafe Checksum(of: UnsafeRawBufferPointer(start: base, count: byteCount))
  }
}
