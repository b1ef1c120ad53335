internal import CPlatform
internal import Glibc
internal import KDNCore

/// The client's memory of a workload: one buffer per object, the same for all targets.
///
/// One mapping, aligned and advised for huge pages where the kernel has them, all pages given.
// Safe because: the mapping never moves, and each buffer is used by one worker at a time.
@safe final class BufferPool: @unchecked Sendable {
  /// One buffer per object.
  let buffers: [Buffer]
  private let base: UnsafeMutableRawPointer
  private let byteCount: Int

  private static let alignment = 2 << 20

  /// Maps `count` buffers of `bufferBytes` bytes each.
  ///
  /// - Throws: `system` if the kernel refuses the memory.
  init(count: Int, bufferBytes: Int) throws(BenchError) {
    let stride = (bufferBytes + 4095) / 4096 * 4096
    byteCount = stride * count + Self.alignment
    let flags = MAP_PRIVATE | MAP_ANONYMOUS
    guard let mapped = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, flags, -1, 0),
      unsafe mapped != MAP_FAILED
    else { throw .last("mmap") }
    unsafe base = mapped
    _ = unsafe madvise(mapped, byteCount, kdn_madv_hugepage())
    unsafe memset(mapped, 0, byteCount)
    let first = unsafe mapped.alignedUp(toMultipleOf: Self.alignment)
    buffers = (0..<count).map { number in
      unsafe Buffer(
        UnsafeMutableRawBufferPointer(start: first + number * stride, count: bufferBytes))
    }
  }

  deinit { _ = unsafe munmap(base, byteCount) }
}

/// The memory of one object, a part of a pool that must outlive it.
// Safe because: a buffer is used by one worker at a time.
@safe struct Buffer: @unchecked Sendable {
  /// The memory itself.
  @unsafe let bytes: UnsafeMutableRawBufferPointer

  /// Wraps memory that others keep.
  @unsafe init(_ bytes: UnsafeMutableRawBufferPointer) { unsafe self.bytes = bytes }

  /// Length in bytes.
  var byteCount: Int { unsafe bytes.count }

  /// Writes the pattern of `object`, which no other object shares.
  func fill(object: Int) {
    for index in 0..<byteCount / 8 {
      let word = Self.word(index, of: object)
      unsafe bytes.storeBytes(of: word, toByteOffset: index * 8, as: UInt64.self)
    }
    for index in byteCount / 8 * 8..<byteCount {
      unsafe bytes.storeBytes(
        of: UInt8(truncatingIfNeeded: object), toByteOffset: index, as: UInt8.self)
    }
  }

  /// Whether all bytes are those of the pattern of `object`.
  func holds(object: Int) -> Bool {
    var differences: UInt64 = 0
    for index in 0..<byteCount / 8 {
      let word = unsafe bytes.load(fromByteOffset: index * 8, as: UInt64.self)
      differences |= word ^ Self.word(index, of: object)
    }
    for index in byteCount / 8 * 8..<byteCount {
      let byte = unsafe bytes.load(fromByteOffset: index, as: UInt8.self)
      differences |= UInt64(byte ^ UInt8(truncatingIfNeeded: object))
    }
    return differences == 0
  }

  /// Writes zeros, so that an answer that never came cannot be taken for one.
  func clear() {
    guard let base = unsafe bytes.baseAddress else { return }
    unsafe memset(base, 0, byteCount)
  }

  /// The checksum of the bytes as they are now.
  func checksum() -> Checksum { unsafe Checksum(of: UnsafeRawBufferPointer(bytes)) }

  private static func word(_ index: Int, of object: Int) -> UInt64 {
    // Odd multipliers (splitmix64's) keep words of all objects and places apart.
    let place = UInt64(truncatingIfNeeded: index) &+ 1
    let name = (UInt64(truncatingIfNeeded: object) &+ 1) &* 0x9E37_79B9_7F4A_7C15
    return (name ^ place) &* 0xBF58_476D_1CE4_E5B9
  }
}
