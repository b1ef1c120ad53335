package import KDNCore

/// What a codec knows of a model's KV beforehand: a view over bytes that were checked.
///
/// See `Codecs`, section Profile.
package struct Profile: Sendable {
  /// What a profile holds.
  package enum Kind: UInt8, Sendable, CaseIterable {
    /// Weights, means and spreads of channels.
    case weights = 1
    /// Those, and bases over a few layers each.
    case groupedBasis = 2
    /// Those, and bases over all layers of a group.
    case wholeBasis = 3
  }

  /// The profile's bytes.
  package let bytes: [UInt8]
  /// The name: SHA-256 of the bytes.
  package let hash: ProfileHash
  /// What it holds.
  package let kind: Kind
  /// The layout that it was learned for.
  package let layout: Layout
  /// The layout's id.
  package let layoutID: LayoutID
  /// The layers and heads that it was learned for.
  package let part: Part
  /// How many tokens it was learned from.
  package let tokenCount: UInt64
  /// Bases, ordered by first layer and plane; none in a profile of weights.
  package let bases: [Basis]

  private let statistics: [PlaneStatistics?]
  private let shape: PartShape

  static let magic: [UInt8] = Array("KDNF".utf8)
  static let version: UInt16 = 1
  static let fixedByteCount = 64
  /// Most bytes of a profile.
  package static let bytesMax = 1 << 30

  /// Checks `bytes` and takes them as a profile.
  ///
  /// - Throws: `checksum`, or a field fault that names the field at fault.
  package init(validating bytes: [UInt8]) throws(CodecFault) {
    guard bytes.count >= Self.fixedByteCount + 8, bytes.count <= Self.bytesMax else {
      throw .field("byteCount", bytes.count, limit: Self.bytesMax, "no length of a profile")
    }
    let content: ProfileContent
    let told: UInt64
    do {
      content = try ProfileContent(bytes)
      var last = ByteReader(bytes, in: bytes.count - 8..<bytes.count)
      told = try last.take("checksum")
    } catch {
      throw .field(error)
    }
    let found = Checksum(of: bytes, first: bytes.count - 8).value
    guard told == found else { throw .checksum("profile", wanted: told, found: found) }
    self.bytes = bytes
    hash = ProfileHash(ofProfile: bytes)
    kind = content.kind
    layout = content.layout
    layoutID = content.layoutID
    part = content.part
    tokenCount = content.tokenCount
    bases = content.bases
    statistics = content.statistics
    shape = content.shape
  }

  /// How many layers the profile's part has.
  package var layerCount: Int { shape.layers.count }

  /// What is known of the channels of a plane; nil for an opaque layer or a plane that it lacks.
  ///
  /// `layerIndex` counts the layers of the profile's part.
  package func plane(layerIndex: Int, _ plane: Plane) -> PlaneStatistics? {
    guard shape.layers.indices.contains(layerIndex) else { return nil }
    return shape.layers[layerIndex].first { shape.planes[$0].plane == plane }
      .flatMap { statistics[$0] }
  }

  /// Weights of the channels of a plane of an object with another part of the same layout; nil
  /// where the profile lacks the layer or a head.
  func weights(of plane: PlaneShape, _ numbers: [Int], part: Part) -> [Float]? {
    guard let index = layerIndex(ofNumber: numbers[plane.layerIndex]),
      let known = self.plane(layerIndex: index, plane.plane)
    else { return nil }
    guard plane.plane != .layer else { return known.weights }
    let first = part.kvHeads.lowerBound - self.part.kvHeads.lowerBound
    guard first >= 0, part.kvHeads.upperBound <= self.part.kvHeads.upperBound else { return nil }
    return Array(known.weights[first * plane.dims..<first * plane.dims + plane.channels])
  }

  /// The basis of exactly these planes of an object; nil if there is none.
  func basis(of planes: [PlaneShape], _ numbers: [Int], part: Part) -> Basis? {
    guard let first = planes.first, first.plane == .layer || part.kvHeads == self.part.kvHeads,
      let index = layerIndex(ofNumber: numbers[first.layerIndex]),
      let basis = bases.first(where: { $0.firstLayerIndex == index && $0.plane == first.plane }),
      basis.layerCount == planes.count,
      basis.channelCount == planes.reduce(0, { $0 + $1.channels })
    else { return nil }
    // Layers of one group from the same first number on are the same, if as many are there.
    let own = shape.planes(
      plane: basis.plane, firstLayerIndex: basis.firstLayerIndex, layerCount: basis.layerCount)
    let ownNumbers = (own ?? []).map { layerNumbers[$0.layerIndex] }
    return ownNumbers == planes.map { numbers[$0.layerIndex] } ? basis : nil
  }

  /// Numbers of the layers of the profile's part.
  var layerNumbers: [Int] { shape.numbers }

  private func layerIndex(ofNumber number: Int) -> Int? { shape.numbers.firstIndex(of: number) }
}
