package import KDNCore

/// MAP_SLAB: a slab that the client wants to map, to read bytes it has a lease on.
package struct MapSlabRequest: FrameBody {
  /// The slab, as a GET in shared memory named it.
  package let slabID: UInt64

  /// Asks for a slab.
  package init(slabID: UInt64) { self.slabID = slabID }

  /// Decodes a whole body; throws a fault that names `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 8)
    slabID = try reader.take("slabID")
  }

  package func write(to writer: inout ByteWriter) { writer.put(slabID) }
}

/// The answer to MAP_SLAB; one descriptor, for reading, comes with the frame's first byte.
package struct MapSlabResponse: FrameBody {
  /// Length of the slab.
  package let byteCount: Int

  /// Creates the answer.
  package init(byteCount: Int) { self.byteCount = byteCount }

  /// Decodes a whole body; throws a fault that names `bodyLength` or `byteCount`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 8)
    byteCount = try reader.takeByteCount("byteCount", least: 1, limit: .max)
  }

  package func write(to writer: inout ByteWriter) { writer.put(UInt64(byteCount)) }
}

/// OPEN_WINDOW: memory that only this client writes and the server copies from.
package struct OpenWindowRequest: FrameBody {
  /// Length wanted.
  package let byteCount: Int

  /// Shortest window, in bytes.
  package static let byteCountMin = 4096

  /// Asks for a window.
  package init(byteCount: Int) { self.byteCount = byteCount }

  /// Decodes a whole body; throws a fault that names `bodyLength` or `byteCount`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 8)
    byteCount = try reader.takeByteCount("byteCount", least: Self.byteCountMin, limit: .max)
  }

  package func write(to writer: inout ByteWriter) { writer.put(UInt64(byteCount)) }
}

/// The answer to OPEN_WINDOW; one descriptor, for reading and writing, comes with the frame's first
/// byte.
package struct OpenWindowResponse: FrameBody {
  /// Length granted, which may be less than was wanted.
  package let byteCount: Int

  /// Creates the answer.
  package init(byteCount: Int) { self.byteCount = byteCount }

  /// Decodes a whole body; throws a fault that names `bodyLength` or `byteCount`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 8)
    byteCount = try reader.takeByteCount(
      "byteCount", least: OpenWindowRequest.byteCountMin, limit: .max)
  }

  package func write(to writer: inout ByteWriter) { writer.put(UInt64(byteCount)) }
}
