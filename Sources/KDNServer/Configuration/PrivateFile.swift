internal import Glibc
package import KDNCore

/// Reads small files whole, and replaces them so that a crash leaves the old or the new bytes.
package enum PrivateFile {
  /// The bytes of a file; nil if there is none.
  ///
  /// - Throws: a fault that names `field` if it is no regular file, larger than `bytesMax` or not
  ///   to be read.
  package static func read(
    _ path: String, bytesMax: Int, field: String
  ) throws(FieldFault) -> [UInt8]? {
    // Not waiting: a pipe in the place of the file must not hold the daemon.
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else {
      guard errno != ENOENT else { return nil }
      throw fault("open", path, field)
    }
    defer { close(file) }
    var facts = stat()
    guard unsafe fstat(file, &facts) == 0 else { throw fault("fstat", path, field) }
    guard facts.st_mode & S_IFMT == S_IFREG else {
      throw FieldFault(field, value: 0, limit: 0, "'\(path)' is not a file")
    }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = unsafe Glibc.read(file, &piece, piece.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw fault("read", path, field) }
      guard count > 0 else { return bytes }
      bytes += piece[..<count]
      guard bytes.count <= bytesMax else {
        throw FieldFault(field, value: bytes.count, limit: bytesMax, "'\(path)' is too large")
      }
    }
  }

  /// Puts `bytes` in the place of a file, which only its owner may read; they survive a crash when
  /// this returns.
  ///
  /// - Throws: a fault that names `field` and the call that failed; the old file is there then.
  package static func replace(
    _ path: String, with bytes: [UInt8], field: String
  ) throws(FieldFault) {
    let temporary = path + ".new"
    _ = unsafe unlink(temporary)
    let file = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else { throw fault("open", temporary, field) }
    do throws(FieldFault) {
      defer { close(file) }
      try write(bytes, to: file, temporary, field)
      guard fsync(file) == 0 else { throw fault("fsync", temporary, field) }
    } catch {
      _ = unsafe unlink(temporary)
      throw error
    }
    guard unsafe rename(temporary, path) == 0 else {
      let fault = fault("rename", path, field)
      _ = unsafe unlink(temporary)
      throw fault
    }
    try syncFolder(of: path, field)
  }

  private static func write(
    _ bytes: [UInt8], to file: Int32, _ path: String, _ field: String
  ) throws(FieldFault) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(file, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw fault("write", path, field) }
      rest = rest.dropFirst(count)
    }
  }

  private static func syncFolder(of path: String, _ field: String) throws(FieldFault) {
    let slash = path.lastIndex(of: "/")
    let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let file = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard file >= 0 else { throw fault("open", folder, field) }
    defer { close(file) }
    guard fsync(file) == 0 else { throw fault("fsync", folder, field) }
  }

  private static func fault(_ call: String, _ path: String, _ field: String) -> FieldFault {
    let code = errno
    let reason = unsafe String(cString: strerror(code))
    return FieldFault(field, value: Int(code), limit: 0, "\(call) '\(path)': \(reason)")
  }
}
