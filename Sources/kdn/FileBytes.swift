internal import ArgumentParser
internal import Glibc

/// Bytes of files and of standard input.
enum FileBytes {
  private static let pieceBytes = 1 << 20

  /// Reads all of the file at `path`, or of standard input for `-`; throws if there are more than
  /// `limit` bytes or the file cannot be read.
  static func read(_ path: String, limit: Int) throws -> [UInt8] {
    let descriptor = path == "-" ? STDIN_FILENO : unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw FileFault(path: path, problem: "cannot be read", code: errno)
    }
    defer { if descriptor != STDIN_FILENO { _ = close(descriptor) } }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: pieceBytes)
    while true {
      let count = unsafe Glibc.read(descriptor, &piece, piece.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw FileFault(path: path, problem: "cannot be read", code: errno) }
      guard count > 0 else { return bytes }
      guard bytes.count + count <= limit else {
        throw FileFault(path: path, problem: "has more than \(limit) bytes", code: EFBIG)
      }
      bytes += piece.prefix(count)
    }
  }

  /// Writes `bytes` to the file at `path`, in place of what is there.
  static func write(_ bytes: [UInt8], to path: String) throws {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw FileFault(path: path, problem: "cannot be written", code: errno)
    }
    var left = bytes[...]
    while !left.isEmpty {
      let count = unsafe left.withUnsafeBytes { piece in
        unsafe Glibc.write(descriptor, piece.baseAddress, piece.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let fault = FileFault(path: path, problem: "cannot be written", code: errno)
        _ = close(descriptor)
        throw fault
      }
      left = left.dropFirst(count)
    }
    guard close(descriptor) == 0 else {
      throw FileFault(path: path, problem: "cannot be written", code: errno)
    }
  }
}

/// A file that cannot be used.
struct FileFault: Error, CustomStringConvertible {
  let path: String
  let problem: String
  let code: Int32

  var description: String { "\(path) \(problem) (errno \(code))" }
}
