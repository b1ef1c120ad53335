package import KDNCore

/// LAYOUT: the layout to be registered.
package struct LayoutRequest: FrameBody {
  /// The layout.
  package let layout: Layout

  /// Asks to register `layout`.
  package init(layout: Layout) { self.layout = layout }

  /// Decodes a whole body, the canonical encoding of a layout; throws a fault that names its field.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    let encoding = try reader.takeBytes("layout", count: reader.remaining)
    layout = try Layout(canonicalEncoding: Array(encoding))
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(contentsOf: layout.canonicalEncoding)
  }
}

/// The answer to LAYOUT.
package struct LayoutResponse: FrameBody {
  /// The layout's id.
  package let layout: LayoutID
  /// Bytes of one token over all layers and heads.
  package let bytesPerToken: Int

  /// Creates the answer.
  package init(layout: LayoutID, bytesPerToken: Int) {
    self.layout = layout
    self.bytesPerToken = bytesPerToken
  }

  /// Decodes a whole body; throws a fault that names `bodyLength` or `bytesPerToken`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 24)
    layout = try LayoutID(from: &reader)
    bytesPerToken = try reader.takeByteCount("bytesPerToken")
  }

  package func write(to writer: inout ByteWriter) {
    layout.write(to: &writer)
    writer.put(UInt64(bytesPerToken))
  }
}
