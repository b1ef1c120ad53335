import KDNCore
import Testing

@Suite("Layouts")
struct LayoutTests {
  private func layout(_ fields: LayoutVector.Fields) throws -> Layout {
    let types: [String: ElementType] = [
      "bf16": .bf16, "f16": .f16, "f32": .f32, "f8e4m3": .f8e4m3, "f8e5m2": .f8e5m2, "i8": .i8,
    ]
    return try Layout(
      elementType: try #require(types[fields.dtype]), groups: fields.groups.map { try group($0) })
  }

  private func group(_ fields: LayoutVector.Group) throws -> LayoutGroup {
    let kind: LayoutGroup.Kind =
      switch fields.kind {
      case "attention":
        .attention(
          kvHeads: try #require(fields.kvHeads), headDim: try #require(fields.headDim))
      case "latent":
        .latent(rank: try #require(fields.rank), ropeDim: try #require(fields.ropeDim))
      default: .opaque(bytesPerToken: try #require(fields.bytesPerToken))
      }
    return LayoutGroup(
      kind: kind, layers: fields.layers, slidingWindow: fields.slidingWindow,
      rope: try fields.rope.map { try rope($0) })
  }

  private func rope(_ fields: LayoutVector.Rope) throws -> RoPE {
    let scalings: [String: RoPE.Scaling] = [
      "none": .none, "linear": .linear, "dynamic": .dynamic, "yarn": .yarn, "llama3": .llama3,
      "longrope": .longrope,
    ]
    return RoPE(
      theta: fields.theta, scaling: try #require(scalings[fields.scaling]),
      pairing: fields.pairing == "neox" ? .neox : .interleaved,
      keys: fields.keys == "before" ? .beforeRotation : .afterRotation,
      rotaryDims: fields.rotaryDims, factors: fields.factors)
  }

  @Test("a layout has the vector's encoding, id and size", arguments: Vectors.layouts.layouts)
  func vector(_ vector: LayoutVector) throws {
    let built = try layout(vector.fields)
    #expect(hexadecimal(built.canonicalEncoding) == vector.hex)
    #expect("\(built.id)" == vector.id)
    #expect(built.bytesPerToken == vector.bytesPerToken)
    #expect(try Layout(canonicalEncoding: unhex(vector.hex)) == built)
  }

  @Test("a malformed encoding is refused", arguments: Vectors.layouts.invalidLayouts)
  func invalid(_ vector: InvalidVector) {
    let found = fault { _ = try Layout(canonicalEncoding: unhex(vector.hex)) }
    // The vectors name lists; a fault names the element. `length` may be the field cut off.
    let names: [String: [String]] = [
      "kind": ["kind", "groupKind"], "layers": ["layers", "layer"], "groups": ["groups", "layer"],
      "factors": ["factors", "factor"],
    ]
    guard vector.field != "length" else { return }
    #expect((names[vector.field] ?? [vector.field]).contains(found?.field ?? ""), "\(found as Any)")
  }

  @Test(
    "an encoding cut off at any point, or with a byte too many, is refused",
    arguments: Vectors.layouts.layouts)
  func truncated(_ vector: LayoutVector) {
    let bytes = unhex(vector.hex)
    for count in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 500)) {
      #expect(throws: FieldFault.self, "\(count)") {
        _ = try Layout(canonicalEncoding: Array(bytes.prefix(count)))
      }
    }
    #expect(throws: FieldFault.self) { _ = try Layout(canonicalEncoding: bytes + [0]) }
  }

  @Test("an encoding with any bit flipped is refused, or is another layout with another id")
  func flipped() throws {
    for vector in Vectors.layouts.layouts where vector.hex.count < 600 {
      let bytes = unhex(vector.hex)
      for bit in 0..<bytes.count * 8 {
        var other = bytes
        other[bit / 8] ^= 1 << (bit % 8)
        guard let layout = try? Layout(canonicalEncoding: other) else { continue }
        #expect(layout.canonicalEncoding == other, "\(vector.name), bit \(bit)")
        #expect("\(layout.id)" != vector.id)
      }
    }
  }
}

@Suite("Geometry")
struct GeometryTests {
  @Test("a part has the vector's size", arguments: Vectors.layouts.parts)
  func part(_ vector: PartVector) throws {
    let geometry = LayoutGeometry(try Vectors.layout(vector.layout))
    for tokens in [1, 17, 4096] {
      #expect(
        try geometry.byteCount(of: vector.part.part, tokens: tokens)
          == vector.bytesPerToken * tokens)
    }
  }

  @Test("a part that does not fit its layout is refused", arguments: Vectors.layouts.invalidParts)
  func invalidPart(_ vector: InvalidPartVector) throws {
    let geometry = LayoutGeometry(try Vectors.layout(vector.layout))
    let found = fault { _ = try geometry.byteCount(of: vector.part.part, tokens: 1) }
    // A range is at fault as a whole: either of its two fields may be named.
    let layers = ["firstLayer", "layerCount"]
    let names = layers.contains(vector.field) ? layers : ["firstKVHead", "kvHeadCount"]
    #expect(names.contains(found?.field ?? ""))
  }

  @Test("token counts outside 1 to 4096 are refused", arguments: [-1, 0, 4097])
  func tokenCount(_ tokens: Int) throws {
    let row = try #require(Vectors.layouts.parts.first)
    let geometry = LayoutGeometry(try Vectors.layout(row.layout))
    let found = fault { _ = try geometry.byteCount(of: row.part.part, tokens: tokens) }
    #expect(found?.field == "tokenCount")
  }

  @Test("a selection has the vector's byte ranges", arguments: Vectors.layouts.selections)
  func selection(_ vector: SelectionVector) throws {
    let geometry = LayoutGeometry(try Vectors.layout(vector.layout))
    let part = vector.part.part
    #expect(try geometry.byteCount(of: part, tokens: vector.tokenCount) == vector.objectBytes)
    let ranges = try geometry.ranges(
      of: vector.selection.part, in: part, tokens: vector.tokenCount)
    #expect(ranges.map { [$0.lowerBound, $0.count] } == vector.ranges)
  }

  @Test(
    "what two writers stored by halves of the heads, a reader gathers whole",
    arguments: [1, 3, 16])
  func heads(_ tokens: Int) throws {
    let layout = try Layout(
      elementType: .f16,
      groups: [LayoutGroup(kind: .attention(kvHeads: 4, headDim: 2), layers: [0, 1, 2])])
    let geometry = LayoutGeometry(layout)
    let whole = Part(firstLayer: 0, layerCount: 3, firstKVHead: 0, kvHeadCount: 4)
    let size = try geometry.byteCount(of: whole, tokens: tokens)
    let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 2) }
    func cut(_ object: [UInt8], _ ranges: [Range<Int>]) -> [UInt8] { ranges.flatMap { object[$0] } }
    for layer in 0..<3 as Range<UInt16> {
      for head in 0..<4 as Range<UInt16> {
        let wanted = Part(firstLayer: layer, layerCount: 1, firstKVHead: head, kvHeadCount: 1)
        let writer = Part(
          firstLayer: 0, layerCount: 3, firstKVHead: head / 2 * 2, kvHeadCount: 2)
        let stored = cut(bytes, try geometry.ranges(of: writer, in: whole, tokens: tokens))
        #expect(stored.count == (try geometry.byteCount(of: writer, tokens: tokens)))
        #expect(
          cut(stored, try geometry.ranges(of: wanted, in: writer, tokens: tokens))
            == cut(bytes, try geometry.ranges(of: wanted, in: whole, tokens: tokens)))
      }
    }
    #expect(try geometry.ranges(of: whole, in: whole, tokens: tokens) == [0..<size])
  }

  @Test("a selection outside the object's part is refused")
  func outside() throws {
    let layout = try Layout(
      elementType: .f16,
      groups: [LayoutGroup(kind: .attention(kvHeads: 4, headDim: 2), layers: [0, 1, 2])])
    let geometry = LayoutGeometry(layout)
    let part = Part(firstLayer: 1, layerCount: 1, firstKVHead: 1, kvHeadCount: 2)
    func check(_ layer: UInt16, _ layers: UInt16, _ head: UInt16, _ heads: UInt16) -> String? {
      let selection = Part(
        firstLayer: layer, layerCount: layers, firstKVHead: head, kvHeadCount: heads)
      return fault { _ = try geometry.ranges(of: selection, in: part, tokens: 4) }?.field
    }
    #expect(check(0, 1, 1, 2) == "firstLayer")
    #expect(check(1, 2, 1, 2) == "firstLayer")
    #expect(check(1, 1, 0, 2) == "firstKVHead")
    #expect(check(1, 1, 2, 2) == "firstKVHead")
    #expect(check(1, 1, 1, 0) == "kvHeadCount")
  }
}
