import KDNCore

@testable import KDNCodec

extension Samples {
  /// A profile for `layout`: weights that differ, and bases of cosines, which are nearly
  /// orthogonal: of two layers each, or of all.
  static func profile(
    _ kind: Profile.Kind, _ layout: Layout, part: Part? = nil, residual: Float = 1
  ) throws -> Profile {
    let part = try part ?? whole(layout)
    let shape = try PartShape(layout: layout, part: part, tokenCount: 1)
    var writer = try ProfileWriter(kind: kind, layout: layout, part: part, tokenCount: 1000)
    for plane in shape.planes where !plane.isOpaque {
      try writer.add(
        statistics(channels: plane.channels), layerIndex: plane.layerIndex, plane.plane)
    }
    let span = kind == .groupedBasis ? 2 : shape.layers.count
    if kind != .weights {
      for first in stride(from: 0, to: shape.layers.count, by: span) {
        let count = min(span, shape.layers.count - first)
        for plane in [Plane.keys, .values] {
          try writer.add(basis(shape, plane, first: first, count: count, residual: residual))
        }
      }
    }
    return try Profile(validating: try writer.finish())
  }

  static func statistics(channels: Int) -> PlaneStatistics {
    PlaneStatistics(
      weights: (0..<channels).map { 0.25 + Float($0 % 4) * 0.125 },
      means: (0..<channels).map { Float($0 % 5) * 0.5 - 1 },
      spreads: (0..<channels).map { _ in 0.5 })
  }

  private static func basis(
    _ shape: PartShape, _ plane: Plane, first: Int, count: Int, residual: Float
  ) -> Basis {
    let planes = shape.planes(plane: plane, firstLayerIndex: first, layerCount: count) ?? []
    let channels = planes.reduce(0) { $0 + $1.channels }
    let matrix = (0..<channels).flatMap { row in
      (0..<channels).map { column in
        let angle = Double.pi / Double(channels) * (Double(column) + 0.5) * Double(row)
        let scale = (row == 0 ? 1 : 2) / Double(channels)
        return Int16(Sine.cosine(angle) * scale.squareRoot() * 32767)
      }
    }
    return Basis(
      firstLayerIndex: first, layerCount: count, plane: plane, residual: residual,
      scales: (0..<channels).map { 0.25 + Float($0 % 4) * 0.0625 },
      means: planes.flatMap { statistics(channels: $0.channels).means },
      spreads: (0..<channels).map { 4 / Float(1 + $0 / 16) }, matrix: matrix)
  }
}
