internal import CXXHash

/// XXH3-64 with seed 0, the checksum of all bytes that KDN keeps or sends.
///
/// Source: xxHash specification 0.8, `doc/xxhash_spec.md`, section XXH3.
package struct Checksum: Hashable, Sendable {
  /// The 64-bit digest.
  package let value: UInt64

  /// Wraps a digest that was read from elsewhere.
  package init(_ value: UInt64) { self.value = value }

  /// Takes the checksum of `bytes`.
  package init(of bytes: some Sequence<UInt8>) {
    let array = Array(bytes)
    self.init(of: array)
  }

  /// Takes the checksum of `bytes` without copying them.
  package init(of bytes: [UInt8]) {
    value = unsafe bytes.withUnsafeBytes { unsafe Checksum(of: $0).value }
  }

  /// Takes the checksum of the first `count` bytes of `bytes`, at most all of them.
  package init(of bytes: [UInt8], first count: Int) {
    value = unsafe bytes.withUnsafeBytes {
      unsafe Checksum(of: UnsafeRawBufferPointer(rebasing: $0.prefix(count))).value
    }
  }

  /// Takes the checksum of a buffer, which must be readable while the call lasts.
  @unsafe package init(of buffer: UnsafeRawBufferPointer) {
    guard let base = buffer.baseAddress else {
      value = Checksum.ofNothing
      return
    }
    value = unsafe kdn_xxh3(base, buffer.count)
  }

  /// XXH3-64 of no bytes at all.
  package static let ofNothing: UInt64 = 0x2D06_8005_38D3_94C2
}

/// Takes a checksum of bytes that arrive in pieces.
@safe package struct StreamingChecksum: ~Copyable {
  private let state: OpaquePointer

  /// Starts with no bytes.
  package init() {
    guard let created = unsafe kdn_xxh3_create() else {
      fatalError("out of memory for a checksum state")
    }
    unsafe state = created
    _ = unsafe kdn_xxh3_reset(created)
  }

  deinit { unsafe kdn_xxh3_free(state) }

  /// Starts again with no bytes.
  package mutating func reset() {
    _ = unsafe kdn_xxh3_reset(state)
  }

  /// Adds the bytes of `buffer`, which must be readable while the call lasts.
  @unsafe package mutating func update(_ buffer: UnsafeRawBufferPointer) {
    guard let base = buffer.baseAddress, buffer.count > 0 else { return }
    _ = unsafe kdn_xxh3_update(state, base, buffer.count)
  }

  /// The checksum of all bytes added so far.
  package func digest() -> Checksum {
    Checksum(unsafe kdn_xxh3_digest(state))
  }
}
