import KDNCore
import KDNProfile

/// KV of a few hidden factors, of which each channel of each plane is a sum, and a little noise.
struct SyntheticKV {
  let layout: Layout
  let layerCount, heads, dim: Int
  /// Spread of each factor.
  let factors: [Float] = [5, 3, 2]
  let noise: Float
  /// `[layer][plane][channel][factor]`.
  let mixing: [[[[Float]]]]

  /// Layers `0..<layerCount` of f32, keys stored before rotation.
  init(
    layers layerCount: Int = 3, heads: Int = 2, dim: Int = 4, noise: Float = 0.02, seed: UInt64 = 1
  ) throws {
    layout = try Layout(
      elementType: .f32,
      groups: [
        LayoutGroup(
          kind: .attention(kvHeads: UInt16(heads), headDim: UInt16(dim)),
          layers: (0..<UInt16(layerCount)).map { $0 })
      ])
    (self.layerCount, self.heads, self.dim) = (layerCount, heads, dim)
    self.noise = noise
    var numbers = Numbers(seed: seed)
    let count = factors.count
    mixing = (0..<layerCount).map { _ in
      (0..<2).map { _ in
        (0..<heads * dim).map { _ in (0..<count).map { _ in numbers.normal() } }
      }
    }
  }

  var part: Part {
    Part(
      firstLayer: 0, layerCount: UInt16(layerCount), firstKVHead: 0, kvHeadCount: UInt16(heads))
  }

  /// Mean of a channel.
  static func mean(_ layer: Int, _ plane: Int, _ channel: Int) -> Float {
    Float(layer) - Float(plane) * 2 + Float(channel) * 0.25
  }

  /// A chunk of random tokens; `firstToken` is beyond the attention sinks unless said.
  func chunk(tokens: Int, seed: UInt64, firstToken: UInt64 = 4, scale: Float = 1) -> KVChunk {
    var numbers = Numbers(seed: seed)
    let hidden = (0..<tokens).map { _ in factors.map { $0 * numbers.normal() } }
    var values: [Float] = []
    for layer in 0..<layerCount {
      for plane in 0..<2 {
        for head in 0..<heads {
          for token in 0..<tokens {
            for element in 0..<dim {
              let channel = head * dim + element
              let mixed = zip(mixing[layer][plane][channel], hidden[token])
                .reduce(0) { $0 + $1.0 * $1.1 }
              let value = mixed + noise * numbers.normal() + Self.mean(layer, plane, channel)
              values.append(value * scale)
            }
          }
        }
      }
    }
    return KVChunk(bytes: Self.bytes(values), firstToken: firstToken, tokenCount: tokens)
  }

  static func bytes(_ values: [Float]) -> [UInt8] {
    values.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian, Array.init) }
  }
}
