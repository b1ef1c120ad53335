package import KDNCore

/// 16 random bytes that tell one directory's files from those of every other.
package struct DirectoryID: Hashable, Sendable, CustomStringConvertible {
  private let high, low: UInt64

  /// How many bytes an id has.
  package static let byteCount = 16

  private init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// A new id, from the system's source of randomness.
  package static func random() -> DirectoryID {
    DirectoryID(high: .random(in: 0...UInt64.max), low: .random(in: 0...UInt64.max))
  }

  /// Takes 16 bytes from `reader`; throws a fault that names `directoryID` if fewer are left.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    high = try reader.take("directoryID")
    low = try reader.take("directoryID")
  }

  /// Appends the 16 bytes to `writer`.
  package func write(to writer: inout ByteWriter) {
    writer.put(high)
    writer.put(low)
  }

  /// The id as 32 hexadecimal digits.
  package var description: String {
    var writer = ByteWriter(capacity: Self.byteCount)
    write(to: &writer)
    return hexadecimal(writer.bytes)
  }
}
