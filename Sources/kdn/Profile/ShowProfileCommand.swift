internal import ArgumentParser
internal import KDNCodec
internal import KDNCore
internal import KDNProfile

/// `kdn profile show`: what a profile holds.
struct ShowProfileCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Shows what a profile holds; 2 if its bytes are not sound.")

  @Argument(help: "File with the profile; - is standard input.")
  var file: String
  @Flag(help: "Write JSON.")
  var json = false

  func answer() throws -> Bool {
    let profile = try Profile(
      validating: try FileBytes.read(file, limit: Profile.bytesMax))
    let summary = ProfileSummary(profile)
    guard !json else {
      try Output.line(summary)
      return true
    }
    for line in summary.lines { Output.line(line) }
    return true
  }
}

/// What a profile holds, for people and programs.
struct ProfileSummary: Encodable {
  struct PlaneLine: Encodable {
    let layer: Int
    let plane: String
    let channels: Int
    /// Root of the mean of the squares of the channels' spreads.
    let spread: Double
    /// Units in which channels are quantised, least and largest.
    let unitMin, unitMax: Double
  }

  struct BasisLine: Encodable {
    let layers: [Int]
    let plane: String
    let channels, rank: Int
    let residual: Double
    /// Of the first, middle and last row.
    let spreadFirst, spreadMiddle, spreadLast: Double
  }

  let hash: String
  let kind: String
  let bytes: Int
  let layout: String
  let elementType: String
  let part: String
  let tokens: UInt64
  /// Whether channels of a plane differ in weight, as only a calibration of the engine makes them.
  let isCalibrated: Bool
  let planes: [PlaneLine]
  let bases: [BasisLine]

  init(_ profile: Profile) {
    hash = "\(profile.hash)"
    kind = ProfileKindArgument.name(of: profile.kind)
    bytes = profile.bytes.count
    layout = "\(profile.layoutID)"
    elementType = "\(profile.layout.elementType)"
    part = ChunkChoice.text(of: profile.part)
    tokens = profile.tokenCount
    let layers = Self.layers(of: profile)
    var isCalibrated = false
    var planes: [PlaneLine] = []
    for (index, layer) in layers.enumerated() {
      for plane in Plane.allCases {
        guard let known = profile.plane(layerIndex: index, plane) else { continue }
        let (least, most) = (known.weights.min() ?? 0, known.weights.max() ?? 0)
        isCalibrated = isCalibrated || least < most
        let power = known.spreads.reduce(0) { $0 + Double($1 * $1) }
        planes.append(
          PlaneLine(
            layer: layer.number, plane: Self.name(of: plane), channels: known.spreads.count,
            spread: (power / Double(known.spreads.count)).squareRoot(), unitMin: Double(least),
            unitMax: Double(most)))
      }
    }
    self.isCalibrated = isCalibrated
    self.planes = planes
    bases = profile.bases.map { basis in
      let group = layers[basis.firstLayerIndex].group
      let own = layers[basis.firstLayerIndex...].filter { $0.group == group }.map(\.number)
      return BasisLine(
        layers: Array(own.prefix(basis.layerCount)), plane: Self.name(of: basis.plane),
        channels: basis.channelCount, rank: basis.rank, residual: Double(basis.residual),
        spreadFirst: Double(basis.spreads.first ?? 0),
        spreadMiddle: Double(basis.spreads[basis.rank / 2]),
        spreadLast: Double(basis.spreads.last ?? 0))
    }
  }

  /// One line for each thing to know, then tables of planes and bases.
  var lines: [String] {
    let weights =
      isCalibrated ? "by a calibration of the engine" : "none: channels of a plane count alike"
    let head = [
      hash, "profile for \(kind), \(Text.bytes(bytes)), learned from \(tokens) tokens",
      "layout \(layout) (\(elementType)), \(part)", "weights \(weights)",
    ]
    let planeTable = Text.table(
      ["layer", "plane", "channels", "spread", "least unit", "largest unit"],
      planes.map { plane in
        [
          "\(plane.layer)", plane.plane, "\(plane.channels)", Self.text(plane.spread),
          Self.text(plane.unitMin), Self.text(plane.unitMax),
        ]
      })
    guard !bases.isEmpty else { return head + planeTable }
    let basisTable = Text.table(
      ["layers", "plane", "channels", "rank", "residual", "first", "middle", "last spread"],
      bases.map { basis in
        [
          "\(basis.layers.first ?? 0)-\(basis.layers.last ?? 0)", basis.plane,
          "\(basis.channels)", "\(basis.rank)",
          Output.decimal(100 * basis.residual, digits: 3) + " %", Self.text(basis.spreadFirst),
          Self.text(basis.spreadMiddle), Self.text(basis.spreadLast),
        ]
      })
    return head + planeTable + basisTable
  }

  private static func text(_ value: Double) -> String { Output.decimal(value, digits: 4) }

  private static func name(of plane: Plane) -> String {
    switch plane {
    case .keys: "K"
    case .values: "V"
    case .layer, .object: "L"
    }
  }

  private static func layers(of profile: Profile) -> [(number: Int, group: Int)] {
    profile.layout.groups.indices.flatMap { group in
      profile.layout.groups[group].layers.map { (number: Int($0), group: group) }
    }.filter { profile.part.layers.contains($0.number) }.sorted { $0.number < $1.number }
  }
}
