/// The slice of a chunk's KV that one writer holds: a range of layers and of KV heads.
package struct Part: Hashable, Sendable {
  /// Number of the first layer.
  package let firstLayer: UInt16
  /// How many layer numbers the range spans; not 0 for a layout object.
  package let layerCount: UInt16
  /// Number of the first KV head.
  package let firstKVHead: UInt16
  /// How many KV heads; 1 where a layer has no heads.
  package let kvHeadCount: UInt16

  /// The part of an opaque object, which has none.
  package static let none = Part(firstLayer: 0, layerCount: 0, firstKVHead: 0, kvHeadCount: 0)

  /// Creates a part; whether it fits a layout is for `Layout` to say.
  package init(firstLayer: UInt16, layerCount: UInt16, firstKVHead: UInt16, kvHeadCount: UInt16) {
    self.firstLayer = firstLayer
    self.layerCount = layerCount
    self.firstKVHead = firstKVHead
    self.kvHeadCount = kvHeadCount
  }

  /// Takes 8 bytes from `reader`; throws a fault that names the field where bytes end.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    firstLayer = try reader.take("firstLayer")
    layerCount = try reader.take("layerCount")
    firstKVHead = try reader.take("firstKVHead")
    kvHeadCount = try reader.take("kvHeadCount")
  }

  /// Appends the 8 bytes to `writer`.
  package func write(to writer: inout ByteWriter) {
    writer.put(firstLayer)
    writer.put(layerCount)
    writer.put(firstKVHead)
    writer.put(kvHeadCount)
  }

  /// The layer numbers that the part spans.
  package var layers: Range<Int> { Int(firstLayer)..<Int(firstLayer) + Int(layerCount) }
  /// The KV heads that the part spans.
  package var kvHeads: Range<Int> { Int(firstKVHead)..<Int(firstKVHead) + Int(kvHeadCount) }
}
