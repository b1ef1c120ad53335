import KDNControl
import KDNCore

/// A daemon that knows what it is told to know, and keeps what it is ordered to do.
final class ScriptedControl: DaemonControl {
  static let token = "right-token"

  struct State: Sendable {
    var orders: [String] = []
    var turnedAway: [String] = []
    var fault: ControlFault?
    var isReady = true
    var events: [DaemonEvent] = []
    var hasAdministrators = true
    var queries: [ObjectQuery] = []
    var logLevel = ""
  }

  private let state: Guarded<State>

  init(_ change: (inout State) -> Void = { _ in }) {
    var state = State()
    change(&state)
    self.state = Guarded(state)
  }

  /// What it knows and was ordered so far.
  var now: State { state.withLock { $0 } }

  /// Changes what it knows.
  func set(_ change: (inout State) -> Void) {
    state.withLock { change(&$0) }
  }

  func report() -> DaemonReport { .full(events: now.events.last?.serial ?? 0) }

  func readiness() -> ReadinessReport {
    let isReady = now.isReady
    return ReadinessReport(
      isReady: isReady,
      checks: [.init(name: "disk", isOK: isReady, detail: "all directories serve")])
  }

  func configuration() -> ConfigurationReport {
    ConfigurationReport(entries: [
      .init(
        key: "max_connections", values: ["1024"], isList: false, source: "default",
        isReloadable: true, unit: "connections", help: "Most connections.")
    ])
  }

  func namespaces() -> [NamespaceDetail] { [detail("alpha")] }

  func objects(_ query: ObjectQuery) throws(ControlFault) -> ObjectPage {
    state.withLock { $0.queries.append(query) }
    guard query.namespace == "alpha" else {
      throw ControlFault(.notFound, field: "namespace", "no namespace \(query.namespace)")
    }
    return ObjectPage(
      objects: [
        .init(
          hash: String(repeating: "a", count: 64), kind: "opaque", layout: "", part: "",
          variant: 0, bytes: 7, tokens: 0, firstToken: 0, uses: 3, tiers: ["ram", "disk"],
          isPinned: false, ttlMilliseconds: 12)
      ],
      next: "more")
  }

  func documents(_ query: DocumentQuery) throws(ControlFault) -> DocumentPage {
    DocumentPage(
      documents: [
        .init(
          name: "\(query.namespace)/\(query.after ?? "-")/\(query.limit)", epoch: 1, layout: "",
          tokens: 2, chunks: 1, presentChunks: 1, metadata: "{}")
      ])
  }

  func documentEdits(_ document: DocumentName) throws(ControlFault) -> DocumentEdits {
    DocumentEdits(
      name: document.name, epoch: 7,
      edits: [.init(id: 8, operation: "scale_keys", strength: 1.5, spans: [[0, 4]])])
  }

  func documentRules(of namespace: String) throws(ControlFault) -> DocumentRules {
    DocumentRules(namespace: namespace, denied: ["secret/*"])
  }

  func edit(
    _ order: DocumentEditOrder, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentEditAnswer {
    let tokens =
      if let text = order.text {
        "\(text) \(order.occurrence ?? 0)"
      } else if let scores = order.scores {
        "\(order.permille ?? 0) \(scores)"
      } else {
        "\(order.strength ?? 0) \(order.spans ?? [])"
      }
    try note(
      "edit \(order.namespace) \(order.name) \(order.epoch ?? 0) \(order.operation) "
        + "\(order.codecClass.map { "\($0) " } ?? "")\(tokens)",
      by: who)
    return DocumentEditAnswer(id: 9)
  }

  func revert(
    _ document: DocumentName, id: UInt64?, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentRevertAnswer {
    try note("revert \(document.namespace) \(document.name) \(id ?? 0)", by: who)
    return DocumentRevertAnswer(reverted: 1)
  }

  func materialise(
    _ document: DocumentName, by who: AdministratorName
  ) throws(ControlFault) -> DocumentMaterial {
    try note("materialise \(document.namespace) \(document.name)", by: who)
    return DocumentMaterial(state: "running", kept: 2, total: 5)
  }

  func retire(
    _ document: DocumentName, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentRetirement {
    try note("retire \(document.namespace) \(document.name)", by: who)
    return DocumentRetirement(name: document.name, epoch: 7)
  }

  func changeDocumentRules(
    _ order: DocumentRulesOrder, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentRules {
    try note(
      "rules \(order.namespace) \(order.denied ?? []) \(order.deny ?? []) \(order.allow ?? [])",
      by: who)
    return DocumentRules(namespace: order.namespace, denied: order.denied ?? [])
  }

  func slowRequests() -> [SlowRequest] {
    [
      SlowRequest(
        operation: "GET", namespace: "alpha", connection: 7, unixMilliseconds: 1, items: 2,
        bytes: 3, status: "ok", totalMicroseconds: 4, waitMicroseconds: 0, diskMicroseconds: 2)
    ]
  }

  func recodings() -> [RecodeReport] { [recodeJob] }

  private var recodeJob: RecodeReport {
    RecodeReport(
      id: 3, namespace: "alpha", codec: "exact", scope: "all", tiers: ["ram", "disk"],
      dryRun: false, administrator: "root", startedUnixMilliseconds: 5)
  }

  func recode(
    _ order: RecodeOrder, by who: AdministratorName
  ) async throws(ControlFault) -> RecodeReport {
    try note("recode \(order.namespace) \(order.codec) \(order.tiers ?? [])", by: who)
    return recodeJob
  }

  func cancelRecode(
    of namespace: String, by who: AdministratorName
  ) throws(ControlFault) -> RecodeReport {
    try note("cancel \(namespace)", by: who)
    return recodeJob
  }

  func events(after serial: UInt64, limit: Int) -> [DaemonEvent] {
    Array(now.events.filter { $0.serial > serial }.prefix(limit))
  }

  func administrator(of token: String) -> AdministratorName? {
    token == Self.token ? AdministratorName("root") : nil
  }

  var hasAdministrators: Bool { now.hasAdministrators }

  func turnedAway(
    _ order: String, by who: AdministratorName?, from origin: String, _ why: ControlFault
  ) {
    let name = who?.text ?? "nobody"
    state.withLock { $0.turnedAway.append("\(order) \(name) \(origin) \(why.code.rawValue)") }
  }

  func reload(by who: AdministratorName) async throws(ControlFault) -> ReloadReport {
    try note("reload", by: who)
    return ReloadReport(changed: ["log_level"])
  }

  func drain(by who: AdministratorName) {
    state.withLock { $0.orders.append("drain \(who)@\(who.origin)") }
  }

  func purge(
    _ order: PurgeOrder, by who: AdministratorName
  ) async throws(ControlFault) -> PurgeReport {
    try note("purge \(order.namespace) \(order.hashes?.count ?? -1)", by: who)
    return PurgeReport(objects: 1, bytes: 2)
  }

  func pin(_ order: PinOrder, by who: AdministratorName) async throws(ControlFault) -> PinReport {
    try note("pin \(order.hashes.count) \(order.ttlMilliseconds ?? 0)", by: who)
    return PinReport(objects: order.hashes.count)
  }

  func setLogLevel(_ level: String, by who: AdministratorName) throws(ControlFault) {
    try note("loglevel \(level)", by: who)
  }

  func change(
    _ change: NamespaceChange, by who: AdministratorName
  ) async throws(ControlFault) -> NamespaceDetail {
    try note("\(change)", by: who)
    return detail("alpha")
  }

  private func note(_ order: String, by who: AdministratorName) throws(ControlFault) {
    let fault = state.withLock { state in
      if state.fault == nil { state.orders.append("\(order) \(who)@\(who.origin)") }
      return state.fault
    }
    if let fault { throw fault }
  }

  private func detail(_ name: String) -> NamespaceDetail {
    NamespaceDetail(
      name: name, limits: NamespaceLimits(ramBytesMax: 1 << 30),
      tokens: [.init(id: "0123456789ab", expiresUnixMilliseconds: 5)], certificateNames: [],
      source: "file")
  }
}
