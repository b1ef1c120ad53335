internal import Dispatch
package import KDNCore
internal import KDNMemory
internal import KDNPool
package import KDNTransport
internal import KDNWire
package import Logging
internal import Synchronization

/// Why a daemon could not start.
package enum StartError: Error, Sendable, CustomStringConvertible {
  /// An address is taken or not to be had.
  case address(TransportError)
  /// The kernel refused something else.
  case system(TransportError)
  /// The memory asked for is not to be had.
  case memory(String)
  /// The configuration cannot work here.
  case configuration(FieldFault)

  package var description: String {
    switch self {
    case .address(let error), .system(let error): "\(error)"
    case .memory(let problem): problem
    case .configuration(let fault): "\(fault)"
    }
  }
}

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

  /// Takes the memory, binds all addresses and begins to serve.
  ///
  /// - Throws: what could not be had; nothing is left behind.
  package init(_ configuration: ServerConfiguration, log: Logger) throws(StartError) {
    let limit = DescriptorLimit.raise(for: configuration.connectionsMax)
    var configuration = configuration
    if limit.connections < configuration.connectionsMax {
      log.warning(
        "fewer connections than configured: the limit of open files is too low",
        metadata: ["max_connections": "\(limit.connections)", "open_files": "\(limit.files)"])
      configuration.connectionsMax = limit.connections
    }
    let arena = try Self.makeArena(configuration, log)
    let pool = Self.makePool(configuration, arena)
    context = ServerContext(
      pool: pool, configuration: configuration, log: log, report: StatisticsReporter(arena: arena))
    if configuration.hasDevelopmentNamespace {
      log.notice("namespace 'default' is open to everybody on this host: development mode")
    }
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
    drainTimeoutMilliseconds = configuration.drainTimeoutMilliseconds
    sweeper = Sweeper(pool: pool)
    endpoints = try Self.listen(
      configuration.endpoints, context: context, loops: loops, members: members)
  }

  private static func makeArena(
    _ configuration: ServerConfiguration, _ log: Logger
  ) throws(StartError) -> Arena {
    do {
      let plan = try PoolConfiguration.plan(
        memoryBytesMax: configuration.memory.bytes, slabBytes: configuration.slab.bytes)
      let arena = try Arena(
        ArenaConfiguration(
          capacityBytes: plan.arenaBytes, slabBytes: configuration.slab.bytes,
          hugePages: configuration.wantsHugePages ? .auto : .off,
          lockMemory: configuration.wantsLockedMemory ? .auto : .off,
          numa: configuration.wantsNUMA ? .auto : .off, prefault: configuration.wantsPrefault))
      log.info(
        "memory taken",
        metadata: ["placement": "\(arena.placement)", "overhead_bytes": "\(plan.overheadBytes)"])
      return arena
    } catch let fault as FieldFault {
      throw .configuration(fault)
    } catch {
      throw .memory("\(error)")
    }
  }

  private static func makePool(_ configuration: ServerConfiguration, _ arena: Arena) -> Pool {
    var settings = PoolConfiguration(memoryBytesMax: configuration.memory.bytes)
    settings.leaseDefaultMilliseconds = UInt64(configuration.limits.defaultLeaseMilliseconds)
    settings.leaseMaxMilliseconds = UInt64(configuration.limits.maxLeaseMilliseconds)
    settings.pinMaxMilliseconds = configuration.limits.maxPinMilliseconds
    return Pool(configuration: settings, arena: arena, clock: SystemClock())
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
    guard !isEmpty, SystemClock().now() < deadline else {
      sweeper.stop()
      return finished(isEmpty)
    }
    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(20)) { @Sendable in
      self.waitUntilEmpty(deadline, finished)
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
