internal import ArgumentParser
internal import FoundationEssentials
internal import KDNCodec
internal import KDNCore
internal import KDNProfile

/// `kdn profile learn`: a profile from KV that is dumped in files or stored by a daemon.
struct LearnCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "learn",
    abstract: "Learns a profile from dumped KV, or from what a running daemon has of a layout.",
    discussion: """
      With --dump, KV comes from pairs of files NAME.kv (payload in canonical order) and NAME.json \
      ({"first_token": 0, "token_count": 256, "part": [first layer, layers, first head, heads]}; \
      part may be left out for the whole layout), in the order of their names. Without it, objects \
      of the layout are listed at the daemon's HTTP endpoint and fetched. Where there are more \
      tokens than --tokens, chunks are taken evenly from all that there are.

      Learn from texts like those that will be stored, and many: at least ten tokens per channel \
      of the widest run of layers.
      """)

  @OptionGroup var common: CommonOptions
  @Option(help: "balanced (weights of channels), small (bases of six layers) or archive (of all).")
  var kind: ProfileKindArgument
  @Option(help: "File with the layout's canonical encoding.")
  var layout: String
  @Option(help: "File for the profile.")
  var out: String
  @Option(help: "File that kdn.calibrate of the Python client wrote of the model.")
  var calibration: String?
  @Option(help: "Directory with dumped KV.")
  var dump: String?
  @Option(help: "The part, FIRST_LAYER,LAYERS,FIRST_HEAD,HEADS, if it is not the whole layout.")
  var part: PartArgument?
  @Option(help: "Learn from at most so many tokens.")
  var tokens = 200_000
  @Option(help: "Most rows of a basis.")
  var rank: Int?
  @Option(help: "Most memory, such as 4GiB.")
  var memory = ByteCountArgument(ByteCount(4 << 30))
  @Option(help: "Threads of the linear algebra, if the library has threads.")
  var threads = 1
  @Option(
    help: "HOST:PORT of the HTTP endpoint; else from KDN_ADMIN_ADDRESS, else 127.0.0.1:9441.")
  var admin: String?
  @Option(help: "File that holds an admin token; else it is taken from KDN_ADMIN_TOKEN.")
  var adminTokenFile: String?

  func validate() throws {
    guard tokens >= 1 else { throw ValidationError("--tokens takes a positive number") }
    guard rank ?? 1 >= 1 else { throw ValidationError("--rank takes a positive number") }
    guard (1...256).contains(threads) else { throw ValidationError("--threads takes 1 to 256") }
    guard out != "-" || !common.json else { throw ValidationError("with --json --out is a file") }
  }

  func answer() throws -> Bool {
    let layout = try Layout(
      canonicalEncoding: try FileBytes.read(layout, limit: Self.layoutBytesMax))
    let part = try part(of: layout)
    var options = LearningOptions(for: kind.kind)
    options.rankMax = rank ?? options.rankMax
    options.memoryBytesMax = memory.count.bytes
    var learner = try ProfileLearner(
      kind.kind, layout: layout, part: part, calibration: try readCalibration(),
      options: options, threadCount: threads)
    try feed(&learner, layout, part)
    let (bytes, report) = try learner.finish()
    try FileBytes.write(bytes, to: out)
    let profile = try Profile(validating: bytes)
    let text = LearningText(profile: profile, report: report)
    if common.json {
      try Output.line(text)
    } else if out == "-" {
      for line in text.lines { Output.complain(line) }
    } else {
      for line in text.lines { Output.line(line) }
    }
    return true
  }

  /// The namespace, as the connection takes it.
  private var namespace: String {
    if let namespace = common.namespace { return namespace }
    let variable = ProcessInfo.processInfo.environment["KDN_NAMESPACE"] ?? ""
    return variable.isEmpty ? "default" : variable
  }

  private func part(of layout: Layout) throws -> Part {
    if let part { return part.part }
    guard let whole = LayoutGeometry(layout).whole else {
      throw ValidationError("no part holds all layers of this layout: say which with --part")
    }
    return whole
  }

  private func readCalibration() throws -> Calibration? {
    guard let calibration else { return nil }
    return try Calibration(
      parsing: try FileBytes.read(calibration, limit: Calibration.byteCountMax))
  }

  private func feed(_ learner: inout ProfileLearner, _ layout: Layout, _ part: Part) throws {
    let display = ProgressDisplay("learn")
    defer { display.end() }
    if let dump {
      let folder = try DumpFolder(dump, whole: LayoutGeometry(layout).whole)
      try folder.chunks(of: part, tokensMax: tokens, bytesPerToken: learner.bytesPerToken) {
        chunk, done, total in
        try learner.feed(chunk)
        display.show(done, of: total)
      }
    } else {
      var endpoint = AdminOptions()
      endpoint.admin = admin
      endpoint.adminTokenFile = adminTokenFile
      endpoint.json = false
      let source = StoredChunks(
        admin: try endpoint.client(), client: try common.client(),
        namespace: namespace, layout: layout.id, part: part)
      try source.chunks(tokensMax: tokens, bytesPerToken: learner.bytesPerToken) {
        chunk, done, total in
        try learner.feed(chunk)
        display.show(done, of: total)
      }
    }
  }

  private static let layoutBytesMax = 1 << 20
}
