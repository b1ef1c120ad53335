internal import CPlatform
internal import Glibc

/// Owns a descriptor and closes it once.
struct OpenDescriptor: ~Copyable, Sendable {
  /// The kernel's number.
  let number: Int32

  /// Takes over what `call` on `file` returned.
  ///
  /// - Throws: what the call left in errno, if it failed.
  init(_ number: Int32, _ call: String, _ file: String) throws(DiskError) {
    guard number >= 0 else { throw DiskError(call: call, file: file, code: errno) }
    self.number = number
  }

  deinit { _ = close(number) }
}

/// An open file of a `FileDirectory`; it keeps the directory's lock for as long as it lives.
final class OpenFile: BlockFile {
  let name: String
  let byteCount: Int
  private let owned: OpenDescriptor
  private let directory: FileDirectory?

  /// Takes over an open file of `byteCount` bytes.
  init(
    _ owned: consuming OpenDescriptor, name: String, byteCount: Int, in directory: FileDirectory?
  ) {
    self.owned = owned
    self.name = name
    self.byteCount = byteCount
    self.directory = directory
  }

  var descriptor: Int32 { owned.number }

  func read(at offset: Int, into pieces: [BlockSpan]) throws(DiskError) {
    let vector = IOVector(pieces)
    var position = Int64(offset)
    while vector.byteCount > 0 {
      let count = unsafe kdn_preadv(descriptor, vector.next, Int32(vector.count), position)
      position += try take(count, errno, of: vector, "pread")
    }
  }

  func write(at offset: Int, from pieces: [BlockSpan]) throws(DiskError) {
    let vector = IOVector(pieces)
    try checkRoom(at: offset, for: vector)
    var position = Int64(offset)
    while vector.byteCount > 0 {
      let count = unsafe kdn_pwritev(descriptor, vector.next, Int32(vector.count), position)
      position += try take(count, errno, of: vector, "pwrite")
    }
  }

  func synchronise() throws(DiskError) {
    while fdatasync(descriptor) != 0 {
      let code = errno
      guard code == EINTR else { throw DiskError(call: "fdatasync", file: name, code: code) }
    }
  }

  /// Leaves out what one call did; returns how much that was, 0 if it was interrupted.
  private func take(
    _ count: Int64, _ code: Int32, of vector: IOVector, _ call: String
  ) throws(DiskError) -> Int64 {
    guard count >= 0 else {
      guard code == EINTR else { throw DiskError(call: call, file: name, code: code) }
      return 0
    }
    try vector.advance(byKernelCount: Int(count), call, name)
    return count
  }
}

extension BlockFile {
  /// Refuses a write that would make the file longer: its length is what a directory's cap counts.
  func checkRoom(at offset: Int, for vector: IOVector) throws(DiskError) {
    guard offset >= 0, vector.byteCount <= byteCount, offset <= byteCount - vector.byteCount else {
      throw DiskError(call: "pwrite", file: name, code: EFBIG)
    }
  }
}

extension IOVector {
  /// Leaves out what the kernel says it has done; a file that ended is an error.
  func advance(byKernelCount count: Int, _ call: String, _ file: String) throws(DiskError) {
    advance(by: count)
    // A count that is no whole sectors is the end of a file that was cut off: with O_DIRECT, to go
    // on from there would be an error of alignment.
    guard byteCount == 0 || (count > 0 && count % 512 == 0) else {
      throw DiskError(call: call, file: file, code: 0)
    }
  }
}
