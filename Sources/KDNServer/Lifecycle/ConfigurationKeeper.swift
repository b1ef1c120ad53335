internal import Dispatch
package import KDNControl
package import KDNCore

/// Keeps configuration and tenants while the daemon runs; reloads and orders come one at a time.
package final class ConfigurationKeeper: ConfigurationKeeping {
  /// What to do with a state that holds from now on; `changed`: keys that a reload changed, nil if
  /// only tenants did, by an order.
  typealias Apply = @Sendable (_ state: ConfigurationState, _ changed: [String]?) -> Void
  /// Drops all objects of a tenant; the fault says why a crash could bring them back.
  typealias Drop = @Sendable (NamespaceName) async -> ControlFault?

  /// Who may enter what, now.
  package let tenants: TenantDirectory
  /// What holds for connections that begin now.
  package let settings: LiveSettings

  /// What carries out changes, set once the daemon is put together.
  private struct Hands: Sendable {
    var apply: Apply = { _, _ in }
    var drop: Drop = { _ in nil }
    var willReload: @Sendable () -> Void = {}
    var didReload: @Sendable (ServerConfiguration) -> Void = { _ in }
  }

  private let source: ConfigurationSource?
  private let wallClock: any WallClock
  private let current: Guarded<ConfigurationState>
  private let outcome: Guarded<ReloadState>
  private let hands = Guarded(Hands())
  /// Tenants whose objects are being dropped: once each, or a later tenant of the name would lose
  /// its own.
  private let removing = Guarded<Set<NamespaceName>>([])
  /// Orders wait for each other and for the device here, never on a loop.
  private let queue = DispatchQueue(label: "kdn.configuration", qos: .utility)

  /// Starts with a state that was read already.
  ///
  /// - Parameters:
  ///   - state: what holds now.
  ///   - source: where to read it anew; without one nothing can be reloaded.
  ///   - wallClock: for the ends of tokens.
  init(
    _ state: ConfigurationState, source: ConfigurationSource? = nil,
    wallClock: any WallClock = SystemWallClock()
  ) {
    self.source = source
    self.wallClock = wallClock
    current = Guarded(state)
    tenants = TenantDirectory(state.snapshot)
    settings = LiveSettings(state.live)
    outcome = Guarded(
      ReloadState(
        lastSucceeded: true, lastUnixMilliseconds: wallClock.milliseconds(), succeededTotal: 0,
        failedTotal: 0))
  }

  /// Says what carries out changes; to be called once, before orders come.
  ///
  /// Objects of tenants that were being removed when the last run ended are dropped now.
  func start(apply: @escaping Apply, drop: @escaping Drop) {
    hands.withLock { hands in
      hands.apply = apply
      hands.drop = drop
    }
    finishRemovals()
  }

  /// Says who is told before a reload begins and after it ended, with what holds then.
  package func watchReloads(
    will: @escaping @Sendable () -> Void, did: @escaping @Sendable (ServerConfiguration) -> Void
  ) {
    hands.withLock { hands in
      hands.willReload = will
      hands.didReload = did
    }
  }

  // MARK: Questions

  package var reloadState: ReloadState { outcome.withLock { $0 } }

  /// The configuration that holds.
  package var configuration: ServerConfiguration { current.withLock { $0.configuration } }

  package func report() -> ConfigurationReport {
    ConfigurationReport(
      entries: configuration.effective.map { setting, value in
        ConfigurationReport.Entry(
          key: setting.key,
          values: setting.isSecret ? ["\(value.texts.count) entries"] : value.texts,
          isList: setting.isList, source: value.origin.rawValue,
          isReloadable: setting.isReloadable, unit: setting.unit, help: setting.help)
      })
  }

  package func namespaces() -> [NamespaceDetail] {
    let snapshot = tenants.snapshot
    var details = snapshot.tenants.values.map(\.detail)
    if let name = snapshot.development, snapshot.tenants[name] == nil {
      details.append(
        Tenant(name, limits: snapshot.developmentLimits, source: .configuration).detail)
    }
    return details.sorted { $0.name < $1.name }
  }

  package func limits() -> [NamespaceName: NamespaceLimits] {
    let snapshot = tenants.snapshot
    var limits = snapshot.tenants.mapValues(\.limits)
    if let name = snapshot.development, limits[name] == nil {
      limits[name] = snapshot.developmentLimits
    }
    return limits
  }

  package func isDevelopment(_ namespace: NamespaceName) -> Bool {
    let snapshot = tenants.snapshot
    return namespace == snapshot.development && snapshot.tenants[namespace] == nil
  }

  package var hasAdministrators: Bool { !settings.values.administrators.isEmpty }

  package func administrator(of token: String) -> AdministratorName? {
    let hash = TokenHash(of: token)
    let all = settings.values.administrators
    var found: String?
    for one in all where one.token.matches(hash) { found = one.name }
    return found.map { AdministratorName($0) }
  }

  // MARK: Orders

  package func reload() async throws(ControlFault) -> ReloadReport {
    let result = await inTurn { self.reloadNow() }
    finishRemovals()
    return try result.get()
  }

  package func change(
    _ change: NamespaceChange
  ) async throws(ControlFault) -> NamespaceDetail {
    let tenant = try await inTurn { self.changeNow(change) }.get()
    guard case .remove = change else { return tenant.detail }
    if let fault = await finishRemoval(of: tenant.name) { throw fault }
    return tenant.detail
  }

  private func inTurn<Value: Sendable>(
    _ body: @escaping @Sendable () -> Value
  ) async -> Value {
    await withCheckedContinuation { done in
      queue.async { done.resume(returning: body()) }
    }
  }

  private func reloadNow() -> Result<ReloadReport, ControlFault> {
    let hands = hands.withLock { $0 }
    hands.willReload()
    defer { hands.didReload(configuration) }
    let result = Result { () throws(ControlFault) in try self.tryReload() }
    let now = wallClock.milliseconds()
    outcome.withLock { outcome in
      outcome.lastUnixMilliseconds = now
      switch result {
      case .success:
        outcome.lastSucceeded = true
        outcome.succeededTotal += 1
        outcome.lastFault = nil
      case .failure(let fault):
        outcome.lastSucceeded = false
        outcome.failedTotal += 1
        outcome.lastFault = fault.message
      }
    }
    return result
  }

  private func tryReload() throws(ControlFault) -> ReloadReport {
    guard let source else {
      throw ControlFault(.unavailable, "there is no place to read the configuration from")
    }
    do throws(ConfigurationFault) {
      let old = current.withLock { $0 }
      let new = try ConfigurationState(source.read())
      let changed = try new.changes(from: old)
      hold(new)
      settings.replace(new.live)
      hands.withLock { $0.apply }(new, changed)
      return ReloadReport(changed: changed)
    } catch {
      throw ControlFault(error)
    }
  }

  private func changeNow(_ change: NamespaceChange) -> Result<Tenant, ControlFault> {
    Result { () throws(ControlFault) in
      var state = self.current.withLock { $0 }
      let now = self.wallClock.milliseconds()
      guard state.configuration.namespacesFile != nil else {
        throw ControlFault(
          .unavailable, field: TenantFile.field, "no file is configured to keep tenants in")
      }
      let tenant = try state.file.apply(
        change, taken: Set(state.configuration.tenants.map(\.name) + self.reserved(state)),
        nowMilliseconds: now)
      try self.write(state.file, state, now)
      state = state.withFile()
      self.hold(state)
      self.hands.withLock { $0.apply }(state, nil)
      return tenant
    }
  }

  /// The development namespace is nobody's: a tenant of its name would close it.
  private func reserved(_ state: ConfigurationState) -> [NamespaceName] {
    [state.snapshot.development].compactMap { $0 }
  }

  private func write(
    _ file: TenantFile, _ state: ConfigurationState, _ now: UInt64
  ) throws(ControlFault) {
    do {
      try TenantStore(path: state.configuration.namespacesFile).write(file, nowMilliseconds: now)
    } catch {
      throw ControlFault(.unavailable, field: error.field, "\(error)")
    }
  }

  private func hold(_ state: ConfigurationState) {
    current.withLock { $0 = state }
    tenants.replace(state.snapshot)
  }

  // MARK: Removals

  private func finishRemovals() {
    for name in current.withLock({ $0.file.leaving }) {
      Task { await finishRemoval(of: name) }
    }
  }

  /// Drops the objects of a tenant that nobody can enter any more, then forgets it.
  @discardableResult
  private func finishRemoval(of name: NamespaceName) async -> ControlFault? {
    guard removing.withLock({ $0.insert(name).inserted }) else { return nil }
    defer { removing.withLock { _ = $0.remove(name) } }
    let drop = hands.withLock { $0.drop }
    if let fault = await drop(name) { return fault }
    return await inTurn {
      var state = self.current.withLock { $0 }
      guard state.file.leaving.remove(name) != nil else { return nil }
      do throws(ControlFault) {
        try self.write(state.file, state, self.wallClock.milliseconds())
      } catch {
        // The next start drops what is not there any more: harmless.
        return nil
      }
      self.current.withLock { $0 = state }
      return nil
    }
  }
}
