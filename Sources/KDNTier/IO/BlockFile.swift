/// The unit of every offset and length in a file of the log, and of every address in memory that
/// takes part in I/O.
package let diskBlockBytes = 4096

/// A piece of page-aligned memory, whole blocks long.
// Safe because: whoever submits keeps the memory in place until the completion.
@safe package struct BlockSpan: @unchecked Sendable {
  /// First byte; a multiple of `diskBlockBytes`.
  @unsafe package let base: UnsafeMutableRawPointer
  /// Length in bytes; a multiple of `diskBlockBytes`.
  package let byteCount: Int

  /// Names memory; traps unless it is whole blocks.
  @unsafe package init(base: UnsafeMutableRawPointer, byteCount: Int) {
    precondition(
      UInt(bitPattern: base) % UInt(diskBlockBytes) == 0 && byteCount % diskBlockBytes == 0
        && byteCount > 0, "disk I/O is in whole blocks")
    unsafe self.base = base
    self.byteCount = byteCount
  }
}

/// An open file of the log.
///
/// Offsets and lengths are whole blocks. Everything blocks.
package protocol BlockFile: AnyObject, Sendable {
  /// Its name inside its directory.
  var name: String { get }
  /// Length in bytes, fixed when it was made.
  var byteCount: Int { get }
  /// The kernel's number of it, for engines that need one; -1 where there is no kernel.
  var descriptor: Int32 { get }
  /// Reads all of `pieces`, one after the other, from `offset` on.
  func read(at offset: Int, into pieces: [BlockSpan]) throws(DiskError)
  /// Writes all of `pieces`, one after the other, from `offset` on.
  func write(at offset: Int, from pieces: [BlockSpan]) throws(DiskError)
  /// Returns once all that was written before survives a loss of power. After an error nothing is
  /// known of what was written since the last success, and asking again proves nothing.
  func synchronise() throws(DiskError)
}

/// One directory on one device: the files of one log.
///
/// Everything blocks.
package protocol BlockDirectory: AnyObject, Sendable {
  /// For messages.
  var path: String { get }
  /// Names and lengths of all files, in no order.
  func list() throws(DiskError) -> [(name: String, byteCount: Int)]
  /// Opens a file that is there.
  func open(_ name: String) throws(DiskError) -> any BlockFile
  /// Makes a file of `byteCount` bytes, whole blocks, all of them allocated on the device (so that
  /// later writes cannot find it full), and makes its name durable. The name must be new.
  func create(_ name: String, byteCount: Int) throws(DiskError) -> any BlockFile
  /// Removes a file and makes that durable; nothing if it is not there.
  func remove(_ name: String) throws(DiskError)
  /// Puts a file in the place of another, at once, and makes that durable.
  func rename(_ name: String, to other: String) throws(DiskError)
}
