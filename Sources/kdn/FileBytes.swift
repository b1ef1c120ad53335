internal import Glibc

/// Bytes of files and of standard streams.
enum FileBytes {
  private static let pieceBytes = 1 << 20

  /// Reads all of the file at `path`, or of standard input for `-`; throws if there are more than
  /// `limit` bytes or the file cannot be read.
  static func read(_ path: String, limit: Int) throws(FileFault) -> [UInt8] {
    guard path != "-" else { return try readAll(of: STDIN_FILENO, path, limit: limit) }
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileFault(path, "cannot be read") }
    defer { _ = close(descriptor) }
    return try readAll(of: descriptor, path, limit: limit)
  }

  /// Writes `bytes` to the file at `path`, in place of what is there, or to standard output for
  /// `-`; throws if not all could be written.
  static func write(_ bytes: [UInt8], to path: String) throws(FileFault) {
    guard path != "-" else { return try write(bytes, STDOUT_FILENO, path) }
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw FileFault(path, "cannot be written") }
    do throws(FileFault) {
      try write(bytes, descriptor, path)
    } catch {
      _ = close(descriptor)
      throw error
    }
    guard close(descriptor) == 0 else { throw FileFault(path, "cannot be written") }
  }

  /// Writes `bytes` to a new file that its owner alone can read; throws if there is one already or
  /// not all could be written.
  static func create(_ path: String, _ bytes: [UInt8]) throws(FileFault) {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw FileFault(path, "cannot be made") }
    defer { _ = close(descriptor) }
    try write(bytes, descriptor, path)
  }

  /// Removes a file, if it is there.
  static func remove(_ path: String) { _ = unsafe unlink(path) }

  /// Writes all `bytes` to an open descriptor that `path` names in errors.
  static func write(_ bytes: [UInt8], _ descriptor: Int32, _ path: String) throws(FileFault) {
    var left = bytes[...]
    while !left.isEmpty {
      let count = unsafe left.withUnsafeBytes { piece in
        unsafe Glibc.write(descriptor, piece.baseAddress, piece.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw FileFault(path, "cannot be written") }
      left = left.dropFirst(count)
    }
  }

  private static func readAll(
    of descriptor: Int32, _ path: String, limit: Int
  ) throws(FileFault) -> [UInt8] {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: pieceBytes)
    while true {
      let count = unsafe Glibc.read(descriptor, &piece, piece.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw FileFault(path, "cannot be read") }
      guard count > 0 else { return bytes }
      guard bytes.count + count <= limit else {
        throw FileFault(path, "has more than \(limit) bytes", code: EFBIG)
      }
      bytes += piece.prefix(count)
    }
  }
}

/// A file that cannot be used.
struct FileFault: Error, CustomStringConvertible {
  /// The file, `-` for a standard stream.
  let path: String
  /// What is wrong, for people.
  let problem: String
  /// The system's number for it.
  let code: Int32

  /// Tells of the last system call, unless `code` is given.
  init(_ path: String, _ problem: String, code: Int32 = errno) {
    self.path = path
    self.problem = problem
    self.code = code
  }

  var description: String { "\(path) \(problem) (errno \(code))" }
}
