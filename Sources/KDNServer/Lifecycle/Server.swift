internal import Dispatch
internal import KDNCore
internal import KDNPool
package import KDNTransport
internal import KDNWire
package import Logging
internal import Synchronization

/// A running daemon: arena, pool, loops and listeners, put together.
package final class Server: Sendable {
  /// Where the daemon really listens.
  package let endpoints: [Endpoint]
  private let context: ServerContext
  private let loops: [Loop]
  private let members: [LoopMembers]
  private let sweeper: Sweeper
  private let drainedLoops = DrainedLoops()
  private let drainTimeoutMilliseconds: Int

  /// Opens the disk tier, takes the memory, binds all addresses and begins to serve.
  ///
  /// What is on disk becomes known in the background; `resetsCache` drops what is there first.
  /// - Throws: what could not be had; nothing is left behind.
  package convenience init(
    _ configuration: ServerConfiguration, resetsCache: Bool = false, log: Logger
  ) throws(StartError) {
    try self.init(
      configuration, resetsCache: resetsCache, log: log, makeEngine: makeDiskEngine)
  }

  /// The same with engines of one's own.
  init(
    _ configuration: ServerConfiguration, resetsCache: Bool = false, log: Logger,
    makeEngine: EngineMaker
  ) throws(StartError) {
    var configuration = configuration
    configuration.connectionsMax = Self.raiseDescriptorLimit(configuration, log)
    var loops: [Loop] = []
    for number in 0..<configuration.loopCount {
      do {
        loops.append(try Loop(label: "kdn.loop.\(number)"))
      } catch {
        throw .system(error)
      }
    }
    self.loops = loops
    members = loops.map { _ in LoopMembers() }
    let storage = try Storage(
      configuration, resetsCache: resetsCache, log: log, makeEngine: makeEngine)
    context = ServerContext(
      storage: storage, configuration: configuration, log: log,
      report: StatisticsReporter(arena: storage.arena, tier: storage.tier))
    if configuration.hasDevelopmentNamespace {
      log.notice("namespace 'default' is open to everybody on this host: development mode")
    }
    drainTimeoutMilliseconds = configuration.drainTimeoutMilliseconds
    sweeper = Sweeper(pool: storage.pool, hasTier: storage.tier != nil)
    do {
      endpoints = try Self.listen(
        configuration.endpoints, context: context, loops: loops, members: members)
    } catch {
      storage.pool.closeTier {}
      throw error
    }
  }

  private static func raiseDescriptorLimit(
    _ configuration: ServerConfiguration, _ log: Logger
  ) -> Int {
    let slabs = configuration.memory.bytes / configuration.slab.bytes
    let limit = DescriptorLimit.raise(
      for: configuration.connectionsMax, otherFiles: slabs + configuration.disk.filesMax)
    guard limit.connections < configuration.connectionsMax else {
      return configuration.connectionsMax
    }
    log.warning(
      "fewer connections than configured: the limit of open files is too low",
      metadata: ["max_connections": "\(limit.connections)", "open_files": "\(limit.files)"])
    return limit.connections
  }

  // MARK: Ending

  /// Stops accepting, answers what is in flight, then calls `finished` with true, or with false if
  /// that took longer than the drain timeout.
  package func drain(finished: @escaping @Sendable (Bool) -> Void) {
    context.startDraining()
    context.log.notice("draining", metadata: ["connections": "\(context.counters.connectionCount)"])
    for (loop, members) in zip(loops, members) {
      loop.post { [drainedLoops] loop in
        members.drain(on: loop)
        drainedLoops.count()
      }
    }
    let deadline = SystemClock().now().advanced(milliseconds: UInt64(drainTimeoutMilliseconds))
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
    _ endpoints: [Endpoint], context: ServerContext, loops: [Loop], members: [LoopMembers]
  ) throws(StartError) -> [Endpoint] {
    let acceptor = Acceptor(context: context, loops: loops, members: members)
    var bound: [Endpoint] = []
    for endpoint in endpoints {
      do {
        bound.append(try acceptor.listen(on: endpoint))
      } catch {
        throw error.isAddressTrouble ? .address(error) : .system(error)
      }
    }
    return bound
  }
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
