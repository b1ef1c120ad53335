package import KDNControl
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTier
internal import KDNTransport
internal import Logging

/// What an administrator may ask of this daemon.
///
/// Answers come from counters and short locks: no question waits for a data loop or a device.
package final class ServerControl: DaemonControl {
  let context: ServerContext
  let arena: Arena
  /// nil: RAM only.
  let tier: DiskTier?
  let keeper: any ConfigurationKeeping
  let threshold: LogThreshold
  let log: EventLog
  let audit: AuditLog
  /// Whether the loops still answer.
  package let pulse: LoopPulse
  let started = SystemClock().now()
  let recodeJobs: RecodeJobs
  private let drainOrder = Guarded(DrainOrder())

  private struct DrainOrder: Sendable {
    var body: (@Sendable (AdministratorName) -> Void)?
    var isGiven = false
  }

  init(
    context: ServerContext, storage: Storage, keeper: any ConfigurationKeeping, loops: [Loop],
    threshold: LogThreshold, events: EventLog, audit: AuditLog
  ) {
    self.context = context
    arena = storage.arena
    tier = storage.tier
    self.keeper = keeper
    self.threshold = threshold
    log = events
    self.audit = audit
    recodeJobs = RecodeJobs { events.append($0, by: $1) }
    pulse = LoopPulse(loops: loops)
  }

  // MARK: Questions

  package func readiness() -> ReadinessReport {
    pulse.beat()
    let pool = context.pool.statistics
    return ReadinessFacts(
      isDraining: context.isDraining,
      listeners: context.links.reports.flatMap { link in
        link.endpoints.map { "\(link.kind) \($0)" }
      },
      loopSilence: pulse.silence, freeBytes: pool.arena.largestFreeExtent,
      evictableObjects: pool.evictableObjects + pool.deadObjects,
      reservations: pool.reservations, pins: pool.pins,
      disk: tier.map { ReadinessFacts.Disk($0.statistics) }
    ).report
  }

  package func configuration() -> ConfigurationReport { keeper.report() }

  package func namespaces() -> [NamespaceDetail] { keeper.namespaces() }

  package func slowRequests() -> [SlowRequest] { context.slowLog.entries }

  package func events(after serial: UInt64, limit: Int) -> [DaemonEvent] {
    log.events(after: serial, limit: limit)
  }

  // MARK: Administrators

  package func administrator(of token: String) -> AdministratorName? {
    keeper.administrator(of: token)
  }

  package var hasAdministrators: Bool { keeper.hasAdministrators }

  package func turnedAway(
    _ order: String, by who: AdministratorName?, from origin: String, _ why: ControlFault
  ) {
    audit.turnedAway(order, by: who, from: origin, why)
  }

  // MARK: Life

  /// Says what carries out an order to drain; to be called once, before the daemon serves.
  package func onDrain(_ body: @escaping @Sendable (AdministratorName) -> Void) {
    drainOrder.withLock { order in
      precondition(order.body == nil, "only one can end the process")
      order.body = body
    }
  }

  package func drain(by who: AdministratorName) {
    let body = drainOrder.withLock { order -> (@Sendable (AdministratorName) -> Void)? in
      guard !order.isGiven else { return nil }
      order.isGiven = true
      return order.body
    }
    audit.granted("drain", by: who, [("again", "\(body == nil)")])
    guard let body else { return }
    log.append(.draining, by: who, "the daemon drains and then ends")
    body(who)
  }

  package func reload(by who: AdministratorName) async throws(ControlFault) -> ReloadReport {
    do {
      let report = try await keeper.reload()
      let keys = report.changed.joined(separator: ",")
      audit.granted("reload", by: who, [("changed", keys)])
      log.append(
        .reloaded, by: who,
        keys.isEmpty ? "the configuration is as it was" : "these keys changed: \(keys)")
      return report
    } catch {
      audit.refused("reload", by: who, error, [])
      log.append(.reloadFailed, by: who, "nothing changed: \(error.message)")
      throw error
    }
  }

  package func setLogLevel(
    _ level: String, by who: AdministratorName
  ) throws(ControlFault) {
    guard let known = Logger.Level(rawValue: level) else {
      let names = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
      let fault = ControlFault(.badRequest, field: "level", "must be one of \(names)")
      audit.refused("log_level", by: who, fault, [])
      throw fault
    }
    threshold.level = known
    audit.granted("log_level", by: who, [("level", level)])
    log.append(.logLevel, by: who, "what is less severe than \(level) is not logged any more")
  }

  package func change(
    _ change: NamespaceChange, by who: AdministratorName
  ) async throws(ControlFault) -> NamespaceDetail {
    let details = change.details
    do {
      let detail = try await keeper.change(change)
      if case .remove(let name) = change { _ = recodeJobs.cancel(of: name) }
      audit.granted(change.order, by: who, details)
      log.append(.namespaceChanged, by: who, "namespace \(change.name): \(change.sentence)")
      return detail
    } catch {
      audit.refused(change.order, by: who, error, details)
      throw error
    }
  }
}

extension ReadinessFacts.Disk {
  fileprivate init(_ disk: DiskStatistics) {
    self.init(
      paths: disk.directories.map(\.path),
      failed: disk.directories.filter { $0.state == "failed" }.map(\.path),
      isRecovered: disk.isReady)
  }
}

extension NamespaceChange {
  fileprivate var order: String {
    switch self {
    case .add: "namespace_add"
    case .setLimits: "namespace_limits"
    case .addToken: "namespace_token_add"
    case .rotate: "namespace_token_rotate"
    case .revokeToken: "namespace_token_revoke"
    case .remove: "namespace_remove"
    }
  }

  fileprivate var sentence: String {
    switch self {
    case .add: "added"
    case .setLimits: "its limits changed"
    case .addToken: "a token was added"
    case .rotate: "its token was replaced"
    case .revokeToken: "a token was ended"
    case .remove: "closed, its objects are dropped"
    }
  }

  /// What the audit log tells of it; of a token only the digits that name it in orders.
  fileprivate var details: [(name: String, value: String)] {
    let about: [(name: String, value: String)] =
      switch self {
      case .add, .setLimits, .remove: []
      case .addToken(_, let sha256, let seconds):
        [("token", Self.id(sha256)), ("expires_in_s", seconds.map { "\($0)" } ?? "never")]
      case .rotate(_, let sha256, let seconds):
        [("token", Self.id(sha256)), ("grace_s", "\(seconds)")]
      case .revokeToken(_, let id): [("token", Self.id(id))]
      }
    return [("namespace", name)] + about
  }

  private static func id(_ text: String) -> String { String(text.prefix(12)) }
}
