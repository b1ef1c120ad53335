internal import Glibc
internal import KDNMemory

extension BlockDirectory {
  /// The bytes of a small file, zeros up to whole blocks among them; nil if it is not there.
  ///
  /// - Throws: what the device refused, or `EFBIG` for more than `bytesMax` bytes.
  package func readRecord(_ name: String, bytesMax: Int) throws(DiskError) -> [UInt8]? {
    guard let known = try list().first(where: { $0.name == name }) else { return nil }
    guard known.byteCount > 0, known.byteCount <= bytesMax,
      known.byteCount % diskBlockBytes == 0
    else { throw DiskError(call: "read", file: name, code: EFBIG) }
    let file = try open(name)
    let buffer = PageBuffer(byteCount: file.byteCount)
    try file.read(at: 0, into: [buffer.span])
    return unsafe Array(buffer.bytes)
  }

  /// Puts `bytes`, and zeros up to whole blocks, in the place of a small file: all of it or, after
  /// a crash or an error, what was there before.
  package func replaceRecord(
    _ name: String, draft: String, with bytes: [UInt8]
  ) throws(DiskError) {
    precondition(!bytes.isEmpty, "a record has bytes")
    try remove(draft)
    let buffer = PageBuffer(byteCount: bytes.count)
    unsafe buffer.bytes.copyBytes(from: bytes)
    let file = try create(draft, byteCount: buffer.byteCount)
    try file.write(at: 0, from: [buffer.span])
    try file.synchronise()
    try rename(draft, to: name)
  }
}
