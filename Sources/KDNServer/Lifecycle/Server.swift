internal import Dispatch
internal import KDNControl
internal import KDNCore
internal import KDNPool
package import KDNTransport
internal import KDNWire
package import Logging
internal import Synchronization

/// A running daemon: arena, pool, loops and listeners, put together.
package final class Server: Sendable {
  /// Where the daemon really listens, and how clients speak there.
  package let listeners: [(kind: LinkKind, endpoint: Endpoint)]
  /// What administrators may ask of it.
  package let control: ServerControl
  /// Configuration and tenants as they hold.
  package let keeper: ConfigurationKeeper
  let context: ServerContext
  let loops: [Loop]
  private let members: [LoopMembers]
  private let sweeper: Sweeper
  private let rdma: RDMAService
  private let drainedLoops = DrainedLoops()

  /// Where the daemon really listens.
  package var endpoints: [Endpoint] { listeners.map(\.endpoint) }

  /// What a daemon is made with beside its configuration.
  package struct Surroundings: Sendable {
    /// Where a reload reads the configuration; nil: it cannot be reloaded.
    package var source: ConfigurationSource?
    /// Sockets that a supervisor listens on.
    package var passed = PassedSockets()
    /// The level below which nothing is logged; a reload sets it.
    package var threshold = LogThreshold.shared
    /// Who gave which order.
    package var audit = AuditLog()
    /// Drops what is in the directories of the disk tier first.
    package var resetsCache = false

    /// Nothing special.
    package init() {}
  }

  /// Opens the disk tier, takes the memory, binds all addresses and begins to serve.
  ///
  /// What is on disk becomes known in the background.
  /// - Throws: what could not be had; nothing is left behind.
  package convenience init(
    _ configuration: ServerConfiguration, _ surroundings: Surroundings = Surroundings(),
    log: Logger
  ) throws(StartError) {
    try self.init(configuration, surroundings, log: log, makeEngine: makeDiskEngine)
  }

  /// The same with engines of one's own.
  init(
    _ configuration: ServerConfiguration, _ surroundings: Surroundings = Surroundings(),
    log: Logger, makeEngine: EngineMaker
  ) throws(StartError) {
    let state = try Self.state(configuration)
    let events = EventLog()
    loops = try Self.makeLoops(configuration.loopCount)
    members = loops.map { _ in LoopMembers() }
    let keeper = ConfigurationKeeper(state, source: surroundings.source)
    self.keeper = keeper
    Self.fitConnections(keeper, log)
    let storage = try Storage(
      configuration, resetsCache: surroundings.resetsCache, events: events, log: log,
      makeEngine: makeEngine)
    let context = ServerContext(
      storage: storage, settings: keeper.settings, tenants: keeper.tenants, log: log,
      report: StatisticsReporter(arena: storage.arena, tier: storage.tier, keeper: keeper))
    self.context = context
    if configuration.hasDevelopmentNamespace {
      log.notice("namespace 'default' is open to everybody on this host: development mode")
    }
    control = ServerControl(
      context: context, storage: storage, keeper: keeper, loops: loops,
      threshold: surroundings.threshold, events: events, audit: surroundings.audit)
    sweeper = Sweeper(
      pool: storage.pool, work: context.work, hasTier: storage.tier != nil)
    let codecs = try CodecService(context, state)
    try BlendService.start(storage.pool, configuration.blends)
    let changer = LiveChanger(
      context: context, keeper: keeper, threshold: surroundings.threshold, events: events,
      codecs: codecs, loops: Array(zip(loops, members)))
    changer.limitTenants(state)
    codecs.apply(state)
    context.profiles.keep(
      in: ProfileUseStore(storage.directories, log: log), of: storage.pool,
      pinMilliseconds: configuration.limits.maxPinMilliseconds, log: log)
    storage.keepDocuments(resetsCache: surroundings.resetsCache, log: log)
    let acceptor = Acceptor(context: context, loops: loops, members: members)
    rdma = RDMAService(acceptor: acceptor, context: context, arena: storage.arena)
    do {
      listeners = try Self.listen(configuration, surroundings.passed, acceptor, rdma)
    } catch {
      context.profiles.close()
      storage.pool.closeDocuments()
      storage.pool.closeTier {}
      throw error
    }
    announce()
    keeper.start(apply: changer.apply, drop: changer.drop)
    events.append(.started, "the daemon serves, version \(Version.text)")
  }

  /// Tells clients and reports where the daemon really listens.
  private func announce() {
    let offers = LinkOffers(
      listeners, hasSharedMemory: context.sharedMemory.isOffered,
      hostID: context.offers.hostID)
    context.setOffers(offers)
    var served = listeners.map { ($0.kind, $0.endpoint) }
    if offers.kinds.contains(.sharedMemory) {
      served += listeners.filter { $0.kind == .unix }.map { (.sharedMemory, $0.endpoint) }
    }
    context.links.setEndpoints(served)
  }

  /// Reads all files that `configuration` names, as a start would.
  ///
  /// - Throws: all that is wrong with them.
  package static func check(_ configuration: ServerConfiguration) throws(ConfigurationFault) {
    _ = try ConfigurationState(configuration)
  }

  private static func state(
    _ configuration: ServerConfiguration
  ) throws(StartError) -> ConfigurationState {
    do {
      return try ConfigurationState(configuration)
    } catch {
      throw .files(error)
    }
  }

  private static func makeLoops(_ count: Int) throws(StartError) -> [Loop] {
    var loops: [Loop] = []
    for number in 0..<count {
      do {
        loops.append(try Loop(label: "kdn.loop.\(number)"))
      } catch {
        throw .system(error)
      }
    }
    return loops
  }

  /// Serves no more connections, and opens no more windows, than the process may open files.
  static func fitConnections(_ keeper: ConfigurationKeeper, _ log: Logger) {
    let configuration = keeper.configuration
    let slabs = configuration.memory.bytes / configuration.slab.bytes
    let limit = DescriptorLimit.raise(
      for: configuration.connectionsMax, otherFiles: slabs + configuration.disk.filesMax,
      sharesMemory: configuration.offersSharedMemory)
    var values = keeper.settings.values
    values.connectionsMax = limit.connections
    values.windowsMax = limit.windows
    keeper.settings.replace(values)
    guard limit.connections < configuration.connectionsMax else { return }
    log.warning(
      "fewer connections than configured: the limit of open files is too low",
      metadata: ["max_connections": "\(limit.connections)", "open_files": "\(limit.files)"])
  }

  // MARK: Living

  /// Calls `answered` once every loop has done what it had to do when it was asked.
  package func pingLoops(_ answered: @escaping @Sendable () -> Void) {
    Self.ask(loops, answered)
  }

  /// Calls `answered` once each of `loops` has done what it had to do when it was asked.
  static func ask(_ loops: [Loop], _ answered: @escaping @Sendable () -> Void) {
    let left = LoopCount(loops.count)
    for loop in loops {
      loop.post { _ in
        if left.countDown() == 0 { answered() }
      }
    }
  }

  // MARK: Ending

  /// Stops accepting, answers what is in flight, then calls `finished` with true, or with false if
  /// that took longer than the drain timeout.
  package func drain(finished: @escaping @Sendable (Bool) -> Void) {
    context.startDraining()
    // Who waits for a layer is told, and does not hold up the end.
    context.pool.closeBlending()
    context.log.notice("draining", metadata: ["connections": "\(context.counters.connectionCount)"])
    for (index, (loop, members)) in zip(loops, members).enumerated() {
      loop.post { [drainedLoops, rdma] loop in
        rdma.stop(loop: index, on: loop)
        members.drain(on: loop)
        drainedLoops.count()
      }
    }
    let timeout = UInt64(keeper.settings.values.drainTimeoutMilliseconds)
    let deadline = SystemClock().now().advanced(milliseconds: timeout)
    waitUntilEmpty(deadline, finished)
  }

  private func waitUntilEmpty(_ deadline: Instant, _ finished: @escaping @Sendable (Bool) -> Void) {
    let isEmpty =
      drainedLoops.value == loops.count && context.counters.connectionCount == 0
    guard !isEmpty else { return closeTier(deadline, finished) }
    guard SystemClock().now() < deadline else {
      sweeper.stop()
      return finished(false)
    }
    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(20)) { @Sendable in
      self.waitUntilEmpty(deadline, finished)
    }
  }

  /// Writes what waits, leaves a checkpoint and gives the directories back, or tells that it took
  /// too long.
  private func closeTier(_ deadline: Instant, _ finished: @escaping @Sendable (Bool) -> Void) {
    let once = Once(finished)
    context.profiles.close()
    context.pool.closeDocuments()
    context.pool.closeTier { [sweeper] in
      sweeper.stop()
      once.call(true)
    }
    let left = SystemClock().now().milliseconds(until: deadline)
    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(Int(left))) { @Sendable in
      once.call(false)
    }
  }

  // MARK: Accepting

  private static func listen(
    _ configuration: ServerConfiguration, _ passed: PassedSockets, _ acceptor: Acceptor,
    _ rdma: RDMAService
  ) throws(StartError) -> [(kind: LinkKind, endpoint: Endpoint)] {
    let own =
      configuration.endpoints.map { ($0.linkKind, $0) }
      + configuration.tls.endpoints.map { (.tls, $0) }
      + configuration.resp.endpoints.map { (.resp, $0) }
    let passedKinds = Set(passed.entries.map(\.kind))
    var bound: [(kind: LinkKind, endpoint: Endpoint)] = []
    do {
      for entry in passed.entries { bound.append((entry.kind, try acceptor.adopt(entry))) }
      for (kind, endpoint) in own where !passedKinds.contains(kind) {
        let mode = configuration.unixMode
        bound.append((kind, try acceptor.listen(on: endpoint, as: kind, unixMode: mode)))
      }
      let fabric = try rdma.listen(on: configuration.rdma.endpoints)
      return bound + fabric.map { (.rdma, $0) }
    } catch {
      throw error.isAddressTrouble ? .address(error) : .system(error)
    }
  }
}

extension Endpoint {
  /// How clients speak to a plain listener there.
  fileprivate var linkKind: LinkKind {
    if case .unix = self { .unix } else { .tcp }
  }
}

/// How many loops have not answered yet.
private final class LoopCount: Sendable {
  private let left: Atomic<Int>

  init(_ count: Int) { left = Atomic(count) }

  func countDown() -> Int { left.subtract(1, ordering: .acquiringAndReleasing).newValue }
}

/// How many loops have stopped listening and told their clients.
private final class DrainedLoops: Sendable {
  private let number = Atomic<Int>(0)

  var value: Int { number.load(ordering: .acquiring) }
  func count() { number.add(1, ordering: .releasing) }
}

/// Calls somebody back with the first of several answers.
private final class Once: Sendable {
  private let waiting: Guarded<(@Sendable (Bool) -> Void)?>

  init(_ body: @escaping @Sendable (Bool) -> Void) { waiting = Guarded(body) }

  func call(_ answer: Bool) {
    let body = waiting.withLock { waiting in
      defer { waiting = nil }
      return waiting
    }
    body?(answer)
  }
}
