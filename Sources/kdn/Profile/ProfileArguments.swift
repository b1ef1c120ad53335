internal import ArgumentParser
internal import KDNCodec
internal import KDNCore

/// A kind of profile, by the codec class that needs it.
struct ProfileKindArgument: ExpressibleByArgument {
  let kind: Profile.Kind

  init?(argument: String) {
    switch argument {
    case "balanced": kind = .weights
    case "small": kind = .groupedBasis
    case "archive": kind = .wholeBasis
    default: return nil
    }
  }

  static var allValueStrings: [String] { ["balanced", "small", "archive"] }

  /// The codec class that needs a kind.
  static func name(of kind: Profile.Kind) -> String {
    switch kind {
    case .weights: "balanced"
    case .groupedBasis: "small"
    case .wholeBasis: "archive"
    }
  }
}

/// A part of a layout: first layer, layers, first head and heads, with commas between.
struct PartArgument: ExpressibleByArgument {
  let part: Part

  init?(argument: String) {
    let numbers = argument.split(separator: ",", omittingEmptySubsequences: false)
      .compactMap { UInt16($0) }
    guard numbers.count == 4, argument.split(separator: ",").count == 4 else { return nil }
    part = Part(
      firstLayer: numbers[0], layerCount: numbers[1], firstKVHead: numbers[2],
      kvHeadCount: numbers[3])
  }
}

/// A number of bytes with a unit.
struct ByteCountArgument: ExpressibleByArgument, CustomStringConvertible {
  let count: ByteCount

  init(_ count: ByteCount) { self.count = count }

  init?(argument: String) {
    guard let count = try? ByteCount(parsing: argument, field: "memory") else { return nil }
    self.count = count
  }

  var description: String { "\(count)" }
}
