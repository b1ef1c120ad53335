internal import Crypto

/// 16 bytes that name a layout: the front of the SHA-256 of its canonical encoding.
package struct LayoutID: Hashable, Sendable, CustomStringConvertible {
  private let high, low: UInt64

  /// Bytes of an id.
  package static let byteCount = 16
  /// The layout of opaque objects, which have none.
  package static let none = LayoutID(high: 0, low: 0)

  private init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Takes 16 bytes from `reader`; throws a fault that names `layoutID` if fewer are left.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    high = try reader.take("layoutID")
    low = try reader.take("layoutID")
  }

  /// Takes the id of a canonical encoding.
  package init(ofCanonicalEncoding bytes: [UInt8]) {
    var reader = ByteReader(Array(SHA256.hash(data: bytes)))
    do {
      try self.init(from: &reader)
    } catch {
      preconditionFailure("SHA-256 gave fewer than 16 bytes: \(error)")
    }
  }

  /// Appends the 16 bytes to `writer`.
  package func write(to writer: inout ByteWriter) {
    writer.put(high)
    writer.put(low)
  }

  /// The id as 32 hexadecimal digits.
  package var description: String {
    var writer = ByteWriter(capacity: 16)
    write(to: &writer)
    return hexadecimal(writer.bytes)
  }
}

/// The numeric form of KV elements; numbers as in the canonical encoding.
package enum ElementType: UInt8, Sendable, CaseIterable {
  case bf16 = 1
  case f16 = 2
  case f32 = 3
  case f8e4m3 = 4
  case f8e5m2 = 5
  case i8 = 6

  /// Bytes of one element.
  package var byteCount: Int {
    switch self {
    case .f32: 4
    case .bf16, .f16: 2
    case .f8e4m3, .f8e5m2, .i8: 1
    }
  }
}

/// The shape and numeric form of a model's KV: a type and a list of groups of layers.
package struct Layout: Hashable, Sendable {
  /// The type of all elements.
  package let elementType: ElementType
  /// Groups ordered by their first layer; each layer stands in exactly one.
  package let groups: [LayoutGroup]

  /// Most groups of a layout.
  package static let groupCountMax = 64
  /// Most layers of a group.
  package static let layersPerGroupMax = 1024
  /// Largest layer number.
  package static let layerNumberMax = 4095

  /// Checks and creates a layout.
  ///
  /// - Throws: a fault that names the field at fault, as `Formats` spells it.
  package init(elementType: ElementType, groups: [LayoutGroup]) throws(FieldFault) {
    guard (1...Self.groupCountMax).contains(groups.count) else {
      throw FieldFault(
        "groupCount", value: groups.count, limit: Self.groupCountMax, "must be 1 to 64")
    }
    var seen: Set<UInt16> = []
    var previousFirst = -1
    for group in groups {
      try group.check()
      let first = Int(group.layers[0])
      guard first > previousFirst else {
        throw FieldFault(
          "layer", value: first, limit: previousFirst, "groups must be ordered by first layer")
      }
      previousFirst = first
      for layer in group.layers where !seen.insert(layer).inserted {
        throw FieldFault(
          "layer", value: UInt64(layer), limit: UInt64(layer), "layer stands in two groups")
      }
    }
    self.elementType = elementType
    self.groups = groups
  }

  /// The first 16 bytes of the SHA-256 of the canonical encoding.
  package var id: LayoutID { LayoutID(ofCanonicalEncoding: canonicalEncoding) }

  /// Bytes that one token takes over all layers and heads.
  package var bytesPerToken: Int {
    groups.reduce(0) { $0 + $1.layers.count * $1.bytesPerLayerToken(elementType) }
  }
}

/// Layers of one shape.
package struct LayoutGroup: Hashable, Sendable {
  /// What a layer of the group keeps per token.
  package enum Kind: Hashable, Sendable {
    /// Keys and values: `[K, V][kvHead][token][dim]`.
    case attention(kvHeads: UInt16, headDim: UInt16)
    /// A compressed latent and a rotary part (MLA): `[token][rank + ropeDim]`.
    case latent(rank: UInt16, ropeDim: UInt16)
    /// Bytes whose meaning only the engine knows: `[token][bytesPerToken]`.
    case opaque(bytesPerToken: UInt32)
  }

  /// What a layer keeps per token.
  package let kind: Kind
  /// Layer numbers, strictly ascending, not empty.
  package let layers: [UInt16]
  /// Sliding window in tokens, 0 for none.
  package let slidingWindow: UInt32
  /// Rotary position facts, if the keys carry positions that way.
  package let rope: RoPE?

  /// Creates a group; `Layout.init` checks it.
  package init(kind: Kind, layers: [UInt16], slidingWindow: UInt32 = 0, rope: RoPE? = nil) {
    self.kind = kind
    self.layers = layers
    self.slidingWindow = slidingWindow
    self.rope = rope
  }

  /// Bytes that one token takes in one layer, over all heads.
  package func bytesPerLayerToken(_ elementType: ElementType) -> Int {
    switch kind {
    case .attention(let kvHeads, let headDim):
      2 * Int(kvHeads) * Int(headDim) * elementType.byteCount
    case .latent(let rank, let ropeDim): (Int(rank) + Int(ropeDim)) * elementType.byteCount
    case .opaque(let bytesPerToken): Int(bytesPerToken)
    }
  }

  func check() throws(FieldFault) {
    guard (1...Layout.layersPerGroupMax).contains(layers.count) else {
      throw FieldFault(
        "layerCount", value: layers.count, limit: Layout.layersPerGroupMax, "must be 1 to 1024")
    }
    for (index, layer) in layers.enumerated() {
      guard Int(layer) <= Layout.layerNumberMax else {
        throw FieldFault("layer", value: Int(layer), limit: Layout.layerNumberMax, "too large")
      }
      guard index == 0 || layers[index - 1] < layer else {
        throw FieldFault("layer", value: Int(layer), limit: Int(layer), "must be ascending")
      }
    }
    switch kind {
    case .attention(let kvHeads, let headDim):
      try Self.check("kvHeads", Int(kvHeads), in: 1...1024)
      try Self.check("headDim", Int(headDim), in: 1...4096)
      try rope?.check(dimsMax: Int(headDim))
    case .latent(let rank, let ropeDim):
      try Self.check("rank", Int(rank), in: 1...16384)
      try Self.check("ropeDim", Int(ropeDim), in: 0...4096)
      try rope?.check(dimsMax: Int(ropeDim))
    case .opaque(let bytesPerToken):
      try Self.check("bytesPerToken", Int(bytesPerToken), in: 1...16_777_216)
      guard rope == nil else {
        throw FieldFault("hasRoPE", value: 1, limit: 0, "an opaque group has no rotary facts")
      }
    }
  }

  private static func check(
    _ field: String, _ value: Int, in range: ClosedRange<Int>
  ) throws(FieldFault) {
    guard range.contains(value) else {
      throw FieldFault(
        field, value: value, limit: value < range.lowerBound ? range.lowerBound : range.upperBound,
        "must be \(range.lowerBound) to \(range.upperBound)")
    }
  }
}
