internal import Crypto
package import KDNCore

/// 32 bytes that name a profile: the SHA-256 of its bytes.
package struct ProfileHash: Hashable, Sendable, CustomStringConvertible {
  private let a, b, c, d: UInt64

  /// How many bytes a hash has.
  package static let byteCount = 32
  /// No profile: all zero.
  package static let none = ProfileHash(a: 0, b: 0, c: 0, d: 0)

  private init(a: UInt64, b: UInt64, c: UInt64, d: UInt64) {
    self.a = a
    self.b = b
    self.c = c
    self.d = d
  }

  /// Takes 32 bytes from `reader`; throws a fault that names `profile` if fewer are left.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    a = try reader.take("profile")
    b = try reader.take("profile")
    c = try reader.take("profile")
    d = try reader.take("profile")
  }

  /// Wraps the 32 bytes of `bytes`; throws a fault if there are more or fewer.
  package init(_ bytes: [UInt8]) throws(FieldFault) {
    var reader = ByteReader(bytes)
    try self.init(from: &reader)
    try reader.finish("profile")
  }

  /// The name of the profile with these bytes.
  package init(ofProfile bytes: [UInt8]) {
    do {
      try self.init(Array(SHA256.hash(data: bytes)))
    } catch {
      preconditionFailure("SHA-256 gave other than 32 bytes: \(error)")
    }
  }

  /// Appends the 32 bytes to `writer`.
  package func write(to writer: inout ByteWriter) { writer.put(a, b, c, d) }

  /// The 32 bytes.
  package var bytes: [UInt8] {
    var writer = ByteWriter(capacity: Self.byteCount)
    write(to: &writer)
    return writer.bytes
  }

  /// The hash as 64 hexadecimal digits.
  package var description: String { hexadecimal(bytes) }
}
