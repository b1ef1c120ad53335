/// How bytes are encoded; numbers as on the wire and on disk.
package enum PayloadCodec: UInt8, Sendable, CaseIterable {
  /// As stored, or decoded.
  case raw = 0
  /// Every bit of what was stored, exponents entropy-coded.
  case exact = 1
  /// Uniform quantiser.
  case high = 2
  /// Uniform quantiser with weights of a profile.
  case balanced = 3
  /// Transform over groups of layers.
  case small = 4
  /// Transform over all layers.
  case archive = 5
  /// zstd, of opaque objects.
  case zstd = 16
  /// LZ4, of opaque objects.
  case lz4 = 17

  /// The name that configuration, statistics and logs use.
  package var name: String {
    switch self {
    case .raw: "raw"
    case .exact: "exact"
    case .high: "high"
    case .balanced: "balanced"
    case .small: "small"
    case .archive: "archive"
    case .zstd: "zstd"
    case .lz4: "lz4"
    }
  }

  /// Whether decoding gives other bytes than were stored.
  package var isLossy: Bool {
    switch self {
    case .raw, .exact, .zstd, .lz4: false
    case .high, .balanced, .small, .archive: true
    }
  }

  /// Whether decoding multiplies by the basis of a profile.
  package var isTransform: Bool { self == .small || self == .archive }
}
