internal import ArgumentParser
internal import KDNCodec
internal import KDNCore

/// `kdn codec encode`: raw objects to encoded ones.
struct CodecEncodeCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "encode",
    abstract: "Encodes objects: pairs of files, IN then OUT.",
    discussion: """
      Without --layout objects are opaque: class zstd or lz4. One line per object: bytes before and
      after, their ratio, blocks of each kind, seconds of processor time.
      """)

  @Option(name: .customLong("class"), help: "exact, high, balanced, small, archive, zstd or lz4.")
  var className = CodecClass.exact.name
  @Option(help: "File with the profile that balanced, small and archive need.")
  var profile: String?
  @Option(help: "File with the layout's canonical encoding.")
  var layout: String?
  @Option(help: "Tokens of an object.")
  var tokens = 256
  @Option(help: "Position of the first token.")
  var firstToken: UInt64 = 0
  @Option(help: "First layer of the part, its number of layers, first head, heads: 0,30,0,3.")
  var part: String?
  @Option(help: "File of lines IN OUT [FIRST [TOKENS]].")
  var list: String?
  @Option(help: "The class's step, in its own units, instead of the measured one.")
  var step: Double?
  @Flag(help: "Writes lines of JSON.")
  var json = false
  @Argument(help: "IN OUT, any number of pairs.")
  var files: [String] = []

  func answer() throws -> Bool {
    guard let codecClass = CodecClass(name: className) else {
      throw ValidationError("--class: there is no class '\(className)'")
    }
    let jobs = try CodecJob.jobs(
      files, list: list, firstToken: firstToken, tokenCount: tokens)
    let encoder = try Encoder(
      codecClass, profile: try CodecFiles.profile(profile), settings: settings(codecClass))
    let layout = try layout.map(CodecFiles.layout)
    for job in jobs {
      let raw = try FileBytes.read(job.input, limit: CodecFiles.objectBytesMax)
      let facts = try facts(job, layout)
      let clock = CPUClock()
      let encoded = try encoder.encode(raw, facts)
      let seconds = clock.seconds
      try FileBytes.write(encoded.bytes, to: job.output)
      let line = EncodedLine(job, codecClass, encoded, rawBytes: raw.count, seconds: seconds)
      if json { try Output.line(line) } else { Output.line(line.text) }
    }
    return true
  }

  private func settings(_ codecClass: CodecClass) -> EncoderSettings {
    var settings = EncoderSettings()
    guard let step else { return settings }
    switch codecClass {
    case .high: settings.steps.high = Float(step)
    case .balanced: settings.steps.balanced = Float(step)
    case .small: settings.steps.small = Float(step)
    case .archive: settings.steps.archive = Float(step)
    case .exact, .zstd, .lz4: break
    }
    return settings
  }

  private func facts(_ job: CodecJob, _ layout: Layout?) throws -> EncodingFacts {
    guard let layout else { return .opaque }
    guard let part = try part.map(Self.part) ?? LayoutGeometry(layout).whole else {
      throw ValidationError("--part: layers differ in heads, so the layout has no whole part")
    }
    return EncodingFacts(
      layout: layout, part: part, firstToken: job.firstToken, tokenCount: job.tokenCount)
  }

  private static func part(_ text: String) throws -> Part {
    let numbers = text.split(separator: ",").compactMap { UInt16($0) }
    guard numbers.count == 4 else { throw ValidationError("--part: not four numbers") }
    return Part(
      firstLayer: numbers[0], layerCount: numbers[1], firstKVHead: numbers[2],
      kvHeadCount: numbers[3])
  }
}

/// What became of one object.
private struct EncodedLine: Encodable {
  let input, output, codecClass: String
  let rawBytes, encodedBytes, headerBytes: Int
  let blocks: [String: Int]
  let fellBack: Bool
  let seconds: Double

  init(
    _ job: CodecJob, _ codecClass: CodecClass, _ encoded: EncodedObject, rawBytes: Int,
    seconds: Double
  ) {
    input = job.input
    output = job.output
    self.codecClass = codecClass.name
    self.rawBytes = rawBytes
    encodedBytes = encoded.bytes.count
    headerBytes = encoded.headerByteCount
    blocks = Dictionary(
      uniqueKeysWithValues: encoded.tally.counts.map { ("\($0.key)", $0.value.blocks) })
    fellBack = encoded.tally.fellBack
    self.seconds = seconds
  }

  /// The line for people.
  var text: String {
    let ratio = Output.decimal(Double(rawBytes) / Double(encodedBytes), digits: 2)
    let kinds = blocks.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
    return "\(input) \(rawBytes) \(encodedBytes) \(ratio) \(kinds.joined(separator: " "))"
      + " \(Output.decimal(seconds, digits: 4))"
  }
}
