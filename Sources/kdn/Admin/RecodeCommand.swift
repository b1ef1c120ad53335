internal import ArgumentParser
internal import Glibc
internal import KDNControl
internal import KDNCore

/// `kdn recode`: keeps objects in another codec from now on.
struct RecodeCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "recode",
    abstract: "Keeps stored objects of a namespace in another codec, in the background.",
    discussion: """
      The codec is raw, exact, high, balanced, small or archive for objects of layouts, raw, zstd \
      or lz4 for opaque ones. What was stored can be had again from raw, exact, zstd and lz4 \
      alone: objects of the other classes stay as they are, whatever is asked for.

      A namespace has one job at a time, which takes no more of the processor than codec_cpu and \
      is lost with the daemon; what it has done by then stays. Without --wait the job is printed; \
      --status shows how far it is. If --wait is interrupted, the job goes on.

      Exit codes: 0 done, 1 cancelled, or nothing could be recoded of what is not so already.
      """)

  /// How often the daemon is asked how far it is.
  private static let pauseMicroseconds: UInt32 = 200_000

  @OptionGroup var admin: AdminOptions
  @Argument(help: "The codec.")
  var codec: String?
  @Option(help: "The namespace.")
  var namespace = "default"
  @Flag(help: "All objects of the namespace that the codec is for.")
  var all = false
  @Option(help: "A layout id: all its objects; may be given several times.")
  var layout: [String] = []
  @Option(help: "A document's name: all objects of its chunks.")
  var document: String?
  @Option(help: "A chunk hash or opaque name in hexadecimal; may be given several times.")
  var hash: [String] = []
  @Option(name: .customLong("key"), help: "The key of an opaque object, any text; several times.")
  var keys: [String] = []
  @Option(help: "ram or disk: change objects there alone.")
  var tier: String?
  @Flag(help: "Only count what would be recoded.")
  var dryRun = false
  @Flag(help: "Wait for the end, and show how far it is.")
  var wait = false
  @Flag(help: "Show the jobs under way and the last that ended.")
  var status = false
  @Flag(help: "Cancel the namespace's job; what is recoded stays so.")
  var cancel = false

  func validate() throws {
    let scopes = [all, !layout.isEmpty, document != nil, !hash.isEmpty || !keys.isEmpty]
    let count = scopes.count { $0 }
    if status || cancel {
      guard !(status && cancel), codec == nil, count == 0, !dryRun, tier == nil, !wait else {
        throw ValidationError("--status and --cancel stand alone, but for --namespace")
      }
      return
    }
    guard codec != nil else { throw ValidationError("which codec?") }
    guard count == 1 else {
      throw ValidationError(
        "give --all, --layout, --document or names (--hash, --key), and only one of them")
    }
    guard tier.map({ $0 == "ram" || $0 == "disk" }) ?? true else {
      throw ValidationError("--tier is ram or disk")
    }
    for text in layout { _ = try Hexadecimal.layoutID(text) }
    for text in hash { _ = try Hexadecimal.chunkHash(text) }
  }

  func answer() throws -> Bool {
    let client = try admin.client()
    if status { return try showAll(client) }
    if cancel {
      let order = RecodeCancellation(namespace: namespace)
      let bytes = try client.order(.POST, "/recode/cancel", order)
      try show(ControlJSON.decode(RecodeReport.self, from: bytes))
      return true
    }
    let bytes = try client.order(.POST, "/recode", order)
    var report = try ControlJSON.decode(RecodeReport.self, from: bytes)
    guard wait || dryRun else {
      try show(report)
      return true
    }
    report = try waitForEnd(of: report, client)
    try show(report)
    return report.isGood
  }

  private var order: RecodeOrder {
    let names = hash + keys.map { "\(KeyArguments.object($0).hash)" }
    return RecodeOrder(
      namespace: namespace, codec: codec ?? "", all: all ? true : nil,
      layouts: layout.isEmpty ? nil : layout, document: document,
      hashes: names.isEmpty ? nil : names, tiers: tier.map { [$0] },
      dryRun: dryRun ? true : nil)
  }

  private func waitForEnd(
    of begun: RecodeReport, _ client: AdminClient
  ) throws -> RecodeReport {
    let display = ProgressDisplay(begun.dryRun ? "count" : "recode")
    defer { display.end() }
    while true {
      let jobs = try client.get("/recode", as: RecodeList.self).jobs
      // Numbers begin anew with each run of the daemon; the time of the start tells them apart.
      let found = jobs.first {
        $0.id == begun.id && $0.startedUnixMilliseconds == begun.startedUnixMilliseconds
      }
      guard let found else {
        throw ControlFault(.notFound, "job \(begun.id) is gone: the daemon was started anew")
      }
      if found.state.isOver { return found }
      if found.state != .counting { display.show(found.bytesDone, of: found.bytesTotal) }
      usleep(Self.pauseMicroseconds)
    }
  }

  private func showAll(_ client: AdminClient) throws -> Bool {
    let bytes = try client.bytes("/recode")
    guard !admin.json else {
      Output.line(String(decoding: bytes, as: UTF8.self))
      return true
    }
    let rows = try ControlJSON.decode(RecodeList.self, from: bytes).jobs.map { job in
      [
        "\(job.id)", job.namespace, job.codec, job.scope, job.tiers.joined(separator: "+"),
        job.state.rawValue, "\(job.objectsDone)/\(job.objectsTotal)", "\(job.recodedObjects)",
        Text.bytes(job.bytesBefore), Text.bytes(job.bytesAfter), job.stayed,
      ]
    }
    let header = [
      "job", "namespace", "codec", "scope", "tiers", "state", "objects", "recoded", "before",
      "after", "stayed",
    ]
    for line in Text.table(header, rows) { Output.line(line) }
    return true
  }

  private func show(_ report: RecodeReport) throws {
    guard !admin.json else { return try Output.line(report) }
    for line in report.lines { Output.line(line) }
  }
}

extension RecodeReport {
  /// Whether it did what it was to do.
  var isGood: Bool {
    guard state == .done else { return false }
    let inVain = declined.filter { $0.key != "same_form" }.values.reduce(0, +)
    return dryRun || recodedObjects > 0 || inVain == 0
  }

  /// Objects that stay as they are, by cause.
  var stayed: String {
    let causes = declined.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    return causes.isEmpty ? "-" : causes.joined(separator: " ")
  }

  /// For people.
  var lines: [String] {
    let place = tiers.joined(separator: " and ")
    var lines = [
      "job \(id) in \(namespace): \(codec), \(scope), in \(place): \(state.rawValue)"
    ]
    guard state.isOver || state == .running else { return lines }
    if dryRun {
      lines.append(
        "would recode \(recodableObjects) of \(objectsTotal) objects, "
          + "\(Text.bytes(recodableBytes)) of \(Text.bytes(bytesTotal))")
    } else {
      lines.append(
        "recoded \(recodedObjects) of \(objectsTotal) objects, "
          + "\(Text.bytes(bytesBefore)) became \(Text.bytes(bytesAfter))")
    }
    if !declined.isEmpty { lines.append("stayed as they are: \(stayed)") }
    return lines
  }
}
