internal import KDNCore

/// How an object's bytes are kept and sent: what was asked for; a block may fall back from it.
package enum CodecClass: UInt8, Sendable, CaseIterable {
  /// Bit for bit: exponents coded, all else as it is.
  case exact = 1
  /// Unrotated keys, means removed, quantised uniformly with one step per plane.
  case high = 2
  /// `high` with a weight for each channel, from a profile.
  case balanced = 3
  /// A transform over a few layers, from a profile.
  case small = 4
  /// A transform over all layers, from a profile.
  case archive = 5
  /// Opaque objects through zstd.
  case zstd = 16
  /// Opaque objects through LZ4.
  case lz4 = 17

  /// The name in configuration, statistics and on the command line.
  package var name: String { codec.name }

  /// The class of a name, nil if there is none.
  package init?(name: String) {
    guard let found = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = found
  }

  /// Whether decoding may give other bytes than were stored.
  package var isLossy: Bool { codec.isLossy }

  /// Whether the class is for opaque objects; the others are for layout objects.
  package var isForOpaque: Bool { self == .zstd || self == .lz4 }

  /// The kind of profile that the class needs, nil if none.
  package var profileKind: Profile.Kind? {
    switch self {
    case .balanced: .weights
    case .small: .groupedBasis
    case .archive: .wholeBasis
    case .exact, .high, .zstd, .lz4: nil
    }
  }

  /// The codec of that number, which all know.
  private var codec: PayloadCodec {
    guard let codec = PayloadCodec(rawValue: rawValue) else {
      preconditionFailure("class \(rawValue) is no codec")
    }
    return codec
  }
}
