package import KDNCore
package import KDNTier

/// One directory of the disk tier: a path and all that its files may take.
package struct DiskPlace: Hashable, Sendable {
  /// Absolute path.
  package let path: String
  /// Hard cap on all files of the directory together.
  package let capacity: ByteCount

  /// Reads `PATH:SIZE`; the last colon separates.
  ///
  /// - Throws: a fault that names `field` if the path is not absolute or the size is none.
  package init(parsing text: String, field: String) throws(FieldFault) {
    guard let colon = text.lastIndex(of: ":") else {
      throw FieldFault(field, value: text.utf8.count, limit: 0, "an entry is PATH:SIZE")
    }
    let path = Self.normal(text[..<colon])
    guard path.hasPrefix("/") else {
      throw FieldFault(field, value: path.utf8.count, limit: 0, "'\(path)' is no absolute path")
    }
    self.path = path
    capacity = try ByteCount(parsing: String(text[text.index(after: colon)...]), field: field)
  }

  /// The path without `//`, `/./` and a slash at its end, so that duplicates show.
  private static func normal(_ path: Substring) -> String {
    let names = path.split(separator: "/").filter { $0 != "." }
    return (path.hasPrefix("/") ? "/" : "") + names.joined(separator: "/")
  }
}

/// How reads and writes reach the device.
package enum DiskEngineChoice: String, Sendable, CaseIterable {
  /// io_uring where the kernel lets it, else threads.
  case auto
  /// io_uring or nothing.
  case uring = "io_uring"
  /// Threads that block.
  case threads
}

/// The disk tier's part of the configuration.
package struct DiskSettings: Sendable {
  /// Directories, one per device; empty: no disk tier.
  package var places: [DiskPlace]
  /// Size of one segment file.
  package var segment: ByteCount
  /// How I/O is done.
  package var engine: DiskEngineChoice
  /// Reads, and as many writes, in flight per directory.
  package var depth: Int
  /// What is let in.
  package var admission: AdmissionRule
  /// Bytes written a day at most; 0 without a limit.
  package var dailyWrites: ByteCount
  /// How long an object may wait in RAM before it is written.
  package var writeDelayMilliseconds: Int
  /// Bytes of objects that wait for the device or are being written, at most.
  package var writeBehind: ByteCount
  /// Room for reads when RAM is full.
  package var staging: ByteCount

  /// Whether there is a disk tier.
  package var isWanted: Bool { !places.isEmpty }
  /// Files that are open at once: all segments, and a few beside them in each directory.
  var filesMax: Int { places.reduce(0) { $0 + $1.capacity.bytes / segment.bytes + 16 } }
}
