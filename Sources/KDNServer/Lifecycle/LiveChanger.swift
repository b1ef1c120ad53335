internal import KDNControl
internal import KDNCore
internal import KDNPool
internal import KDNTransport

/// Lets a changed configuration and changed tenants hold in the parts of a running daemon.
struct LiveChanger: Sendable {
  private let context: ServerContext
  private let keeper: ConfigurationKeeper
  private let threshold: LogThreshold
  private let events: EventLog
  private let codecs: CodecService
  private let loops: [(Loop, LoopMembers)]

  init(
    context: ServerContext, keeper: ConfigurationKeeper, threshold: LogThreshold,
    events: EventLog, codecs: CodecService, loops: [(Loop, LoopMembers)]
  ) {
    self.context = context
    self.keeper = keeper
    self.threshold = threshold
    self.events = events
    self.codecs = codecs
    self.loops = loops
  }

  /// Lets `state` hold; connections that stand keep the limits that they began with.
  var apply: ConfigurationKeeper.Apply {
    { [self] state, changed in
      limitTenants(state)
      codecs.apply(state)
      // Who came in by what does not hold any more leaves now, not at the next tick.
      for (loop, members) in loops { loop.post { members.tick(on: $0) } }
      guard let changed else { return }
      let configuration = state.configuration
      Server.fitConnections(keeper, context.log)
      threshold.level = configuration.logLevel
      context.slowLog.setThreshold(milliseconds: configuration.slowRequestMilliseconds)
      context.pool.setWriteBudget(bytesPerDay: configuration.disk.dailyWrites.bytes)
      context.pool.setAdmission(configuration.disk.admission.policy)
      context.pool.setTimes(
        leaseDefaultMilliseconds: UInt64(configuration.limits.defaultLeaseMilliseconds),
        leaseMaxMilliseconds: UInt64(configuration.limits.maxLeaseMilliseconds),
        pinMaxMilliseconds: configuration.limits.maxPinMilliseconds)
      if !Set(changed).isDisjoint(with: ["tls_certificate", "tls_key", "tls_client_ca"]) {
        let subject = state.security?.subject ?? "nobody"
        events.append(.tlsReloaded, "new connections see the certificate of \(subject)")
      }
    }
  }

  /// Lets the tenants' limits hold in both tiers and on connections.
  func limitTenants(_ state: ConfigurationState) {
    let snapshot = state.snapshot
    var limits = snapshot.tenants.mapValues(\.limits)
    if let development = snapshot.development, limits[development] == nil {
      limits[development] = snapshot.developmentLimits
    }
    for (name, limits) in limits {
      do {
        context.pool.setLimits(limits, of: try context.pool.namespace(name))
      } catch {
        // Nobody can enter it either then: HELLO needs the same place.
        context.log.error(
          "no place for a namespace until the next start",
          metadata: ["namespace": "\(name)", "error": "\(error)"])
      }
    }
    context.admission.apply()
  }

  /// Drops all objects of a tenant that nobody can enter any more.
  var drop: ConfigurationKeeper.Drop {
    { [context, loops] name in
      // Connections of the tenant, which `apply` ended, must not store behind the purge.
      await withCheckedContinuation { done in
        Server.ask(loops.map(\.0)) { done.resume() }
      }
      guard let namespace = try? context.pool.namespace(name) else { return nil }
      context.pool.setLimits(.none, of: namespace)
      let result = await withCheckedContinuation { done in
        context.pool.purge(.namespace, in: namespace) { done.resume(returning: $0) }
      }
      guard case .failure(let refusal) = result else { return nil }
      return ControlFault(refusal)
    }
  }
}
