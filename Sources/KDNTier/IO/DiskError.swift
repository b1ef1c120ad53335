/// What the kernel refused.
package struct DiskError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The call: `open`, `pread`, `pwrite`, `fdatasync`, `fallocate` and so on.
  package let call: String
  /// The file's name inside its directory.
  package let file: String
  /// errno; 0 where fewer bytes came than asked for.
  package let code: Int32

  /// Puts the facts together.
  package init(call: String, file: String, code: Int32) {
    self.call = call
    self.file = file
    self.code = code
  }

  package var description: String {
    code == 0 ? "\(call) of \(file) came short" : "\(call) of \(file) failed: errno \(code)"
  }
}
