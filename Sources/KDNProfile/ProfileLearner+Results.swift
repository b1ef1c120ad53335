internal import KDNCodec
internal import KDNCore

extension ProfileLearner {
  /// Fills in what the report says of all runs.
  mutating func summarise() {
    let counted = moments.reduce(0) { $0 + $1.tokenCount }
    let outliers = moments.reduce(0) { $0 + $1.outlierCount }
    report.outlierShare = counted > 0 ? Double(outliers) / Double(counted) : 0
    let ratios = zip(runs, moments).filter(\.0.wantsBasis).map {
      Double($1.tokenCount) / Double($0.channelCount)
    }
    report.tokensPerChannel = ratios.min() ?? 0
  }

  /// The profile's bytes; products are given up as bases are made of them.
  mutating func written() throws(LearningFault) -> [UInt8] {
    let places = runs.indices.flatMap { run in
      runs[run].planes.indices.map { (run: run, plane: $0) }
    }
    let channels = moments.map(\.channels)
    let spreads = places.map { Array(channels[$0.run].spreads[range(of: $0)]) }
    let inner = places.map { Array(channels[$0.run].innerSpreads[range(of: $0)]) }
    let units = ChannelUnits.normalised(try rawUnits(places, inner), spreads: inner)
    var writer = try codec { () throws(CodecFault) in
      try ProfileWriter(
        kind: kind, layout: layout, part: part, tokenCount: UInt64(report.tokenCount))
    }
    for (index, place) in places.enumerated() {
      let plane = runs[place.run].planes[place.plane]
      let means = Array(channels[place.run].means[range(of: place)])
      let statistics = PlaneStatistics(
        weights: units[index], means: means, spreads: spreads[index])
      try codec { () throws(CodecFault) in
        try writer.add(statistics, layerIndex: plane.layerIndex, plane.plane)
      }
    }
    for run in runs.indices where runs[run].wantsBasis {
      let ofRun = places.indices.filter { places[$0].run == run }.flatMap { units[$0] }
      let basis = try basis(ofRun: run, units: ofRun, channels[run])
      try codec { () throws(CodecFault) in try writer.add(basis) }
    }
    return try codec { () throws(CodecFault) in try writer.finish() }
  }

  private func range(of place: (run: Int, plane: Int)) -> Range<Int> {
    runs[place.run].channels(ofPlane: place.plane)
  }

  /// Units of the channels of all planes, up to a factor common to all.
  private func rawUnits(
    _ places: [(run: Int, plane: Int)], _ spreads: [[Float]]
  ) throws(LearningFault) -> [[Float]] {
    guard let calibration else { return spreads.map { ChannelUnits.uncalibrated(spreads: $0) } }
    var units: [[Float]] = []
    for place in places {
      let plane = runs[place.run].planes[place.plane]
      let heads = plane.plane == .layer ? 0..<1 : part.kvHeads
      do throws(FieldFault) {
        let importance = try calibration.importance(of: plane, heads: heads)
        units.append(ChannelUnits.calibrated(importance: importance))
      } catch {
        throw .field(error)
      }
    }
    return units
  }

  private mutating func basis(
    ofRun index: Int, units: [Float], _ channels: ChannelStatistics
  ) throws(LearningFault) -> Basis {
    let run = runs[index]
    guard let algebra,
      let directions = try moments[index].principal(
        units: units, rankMax: options.rankMax, algebra)
    else { preconditionFailure("a run that wants a basis has products") }
    let variance = zip(channels.spreads, units).reduce(0) { sum, channel in
      let spread = Double(channel.0 / channel.1)
      return sum + spread * spread
    }
    let rounded = RoundedBasis(
      directions, width: run.channelCount, variance: variance, spreadMin: options.spreadMin)
    return Basis(
      firstLayerIndex: run.planes[0].layerIndex, layerCount: run.planes.count,
      plane: run.planes[0].plane, residual: rounded.residual,
      scales: units, means: channels.means, spreads: rounded.spreads,
      matrix: rounded.matrix)
  }

  private func codec<Value>(
    _ body: () throws(CodecFault) -> Value
  ) throws(LearningFault) -> Value {
    do throws(CodecFault) {
      return try body()
    } catch {
      throw .profile(error)
    }
  }
}
