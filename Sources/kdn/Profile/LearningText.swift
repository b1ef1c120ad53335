internal import KDNCodec
internal import KDNProfile

/// What was learned, for people and programs.
struct LearningText: Encodable {
  let hash: String
  let kind: String
  let bytes: Int
  let chunks: Int
  let tokens: Int
  let nonFiniteChunks: Int
  let brokenPieces: Int
  let outlierShare: Double
  let isCalibrated: Bool
  let isSketched: Bool
  let memoryBytes: Int
  let tokensPerChannel: Double

  init(profile: Profile, report: LearningReport) {
    hash = "\(profile.hash)"
    kind = ProfileKindArgument.name(of: profile.kind)
    bytes = profile.bytes.count
    chunks = report.chunkCount
    tokens = report.tokenCount
    nonFiniteChunks = report.nonFiniteChunkCount
    brokenPieces = report.brokenPieceCount
    outlierShare = report.outlierShare
    isCalibrated = report.isCalibrated
    isSketched = report.isSketched
    memoryBytes = report.memoryBytes
    tokensPerChannel = report.tokensPerChannel
  }

  /// Tokens per channel below which a basis fits its own texts better than others.
  private static let tokensPerChannelMin = 5.0

  /// One line for each thing to know.
  var lines: [String] {
    var lines = [
      "\(hash)",
      "profile for \(kind), \(Text.bytes(bytes)), of \(tokens) tokens in \(chunks) chunks",
    ]
    if nonFiniteChunks > 0 {
      lines.append("left out \(nonFiniteChunks) chunks with values that are not finite")
    }
    if brokenPieces > 0 {
      lines.append("left out \(brokenPieces) pieces of chunks far outside of the rest")
    }
    if outlierShare > 0 {
      lines.append("\(Output.decimal(100 * outlierShare, digits: 3)) % of tokens count less")
    }
    if !isCalibrated {
      lines.append("without a calibration: errors of all channels of a plane count alike")
    }
    if isSketched { lines.append("bases are sketched, to stay within the memory") }
    if kind != "balanced", tokensPerChannel < Self.tokensPerChannelMin {
      lines.append(
        "only \(Text.digits(tokensPerChannel)) tokens per channel: learn from more texts")
    }
    return lines
  }
}
