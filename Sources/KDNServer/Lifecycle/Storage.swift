internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTier
internal import Logging

/// Memory, disk tier and pool of a daemon.
struct Storage {
  let arena: Arena
  let pool: Pool
  /// nil: RAM only.
  let tier: DiskTier?
  /// Largest object that can be made durable; nil without a disk tier.
  let durableBytesMax: Int?
  /// The directories of the disk tier.
  let directories: [any BlockDirectory]
  /// The same with the capacity of the cache in each, in bytes.
  let documentDirectories: [(directory: any BlockDirectory, capacityBytes: Int)]
  /// Memory shared with clients on this host.
  let sharedMemory: SharedMemory

  /// Opens the disk tier, whose journals have been read when this returns, and takes the memory.
  ///
  /// - Throws: what could not be had.
  init(
    _ configuration: ServerConfiguration, resetsCache: Bool, events: EventLog, log: Logger,
    makeEngine: EngineMaker
  ) throws(StartError) {
    let settings = Self.settings(configuration)
    guard configuration.disk.isWanted else {
      let (arenaBytes, windowBytes) = try Self.planArena(configuration, diskBytes: 0, log)
      arena = try Self.makeArena(configuration, bytes: arenaBytes, log)
      pool = Pool(configuration: settings, arena: arena, clock: SystemClock())
      sharedMemory = Self.share(
        arena, configuration, arena.isShareable, windowBytes, log)
      tier = nil
      directories = []
      documentDirectories = []
      durableBytesMax = nil
      return
    }
    let memory = DiskMemory(configuration.disk, memoryBytes: configuration.memory.bytes)
    let (arenaBytes, windowBytes) = try Self.planArena(
      configuration, diskBytes: memory.stagingBytes + memory.tierBytes + settings.writeQueueBytes,
      log)
    // Before the memory, which may take long: a directory that cannot be used is told at once.
    let directories = try DiskDirectories(
      configuration.disk, isResetting: resetsCache, log: log, makeEngine: makeEngine)
    self.directories = directories.configurations.map(\.directory)
    documentDirectories = directories.configurations.map { ($0.directory, $0.capacityBytes) }
    do throws(StartError) {
      let tier = try Self.openTier(configuration, memory, directories, events, log)
      self.tier = tier
      arena = try Self.makeArena(configuration, bytes: arenaBytes, log)
      let staging = try Self.makeStaging(configuration, bytes: memory.stagingBytes)
      let isShareable = arena.isShareable && staging.isShareable
      sharedMemory = Self.share(arena, configuration, isShareable, windowBytes, log)
      pool = Self.makePool(configuration, settings, arena: arena, staging: staging, tier: tier)
    } catch {
      directories.shutDown()
      throw error
    }
    precondition(pool.chargeBuffers(memory.tierBytes), "the plan left no room for the disk tier")
    pool.startTier()
    durableBytesMax = tier?.objectBytesMax
  }

  // MARK: Memory

  private static func settings(_ configuration: ServerConfiguration) -> PoolConfiguration {
    var settings = PoolConfiguration(memoryBytesMax: configuration.memory.bytes)
    settings.leaseDefaultMilliseconds = UInt64(configuration.limits.defaultLeaseMilliseconds)
    settings.leaseMaxMilliseconds = UInt64(configuration.limits.maxLeaseMilliseconds)
    settings.pinMaxMilliseconds = configuration.limits.maxPinMilliseconds
    // Those of the past stay numbered while the daemon runs.
    settings.namespacesMax = 2 * TenantFile.tenantsMax
    settings.documentEpochBase = SystemWallClock().milliseconds()
    return settings
  }

  /// Offers memory to clients on this host, or says why not.
  private static func share(
    _ arena: Arena, _ configuration: ServerConfiguration, _ isShareable: Bool, _ windowBytes: Int,
    _ log: Logger
  ) -> SharedMemory {
    let isWanted = configuration.offersSharedMemory
    if isWanted, !isShareable {
      log.notice("no shared memory is offered: the kernel does not seal memory against writing")
    }
    return SharedMemory(
      arena, isOffered: isWanted && isShareable, windowBytesMax: windowBytes)
  }

  /// Bytes of the arena, when `diskBytes` are for the disk tier, and those for windows of clients
  /// that share memory.
  ///
  /// Windows take what whole slabs leave over; only where that is less than a quarter of what they
  /// are to have does the arena give them a slab, and never its last.
  static func planArena(
    _ configuration: ServerConfiguration, diskBytes: Int, _ log: Logger
  ) throws(StartError) -> (arenaBytes: Int, windowBytes: Int) {
    let wanted = SharedMemory.windowBytes(of: configuration)
    do {
      var plan = try PoolConfiguration.plan(
        memoryBytesMax: configuration.memory.bytes, slabBytes: configuration.slab.bytes,
        stagingBytes: diskBytes)
      if plan.spareBytes < wanted / 4, plan.arenaBytes > configuration.slab.bytes {
        plan = try PoolConfiguration.plan(
          memoryBytesMax: configuration.memory.bytes,
          slabBytes: configuration.slab.bytes, stagingBytes: diskBytes + wanted)
        plan.spareBytes += wanted
      }
      let windowBytes = min(wanted, plan.spareBytes)
      log.info(
        "memory planned",
        metadata: [
          "arena_bytes": "\(plan.arenaBytes)", "overhead_bytes": "\(plan.overheadBytes)",
          "disk_bytes": "\(diskBytes)", "window_bytes": "\(windowBytes)",
        ])
      return (plan.arenaBytes, windowBytes)
    } catch {
      throw .configuration(error)
    }
  }

  private static func makeArena(
    _ configuration: ServerConfiguration, bytes: Int, _ log: Logger
  ) throws(StartError) -> Arena {
    let arena = try makeArena(configuration, bytes: bytes, slab: configuration.slab.bytes)
    log.info("memory taken", metadata: ["placement": "\(arena.placement)"])
    return arena
  }

  private static func makeStaging(
    _ configuration: ServerConfiguration, bytes: Int
  ) throws(StartError) -> Arena {
    try makeArena(configuration, bytes: bytes, slab: stagingSlab(bytes))
  }

  private static func makeArena(
    _ configuration: ServerConfiguration, bytes: Int, slab: Int
  ) throws(StartError) -> Arena {
    do {
      return try Arena(
        ArenaConfiguration(
          capacityBytes: bytes, slabBytes: slab,
          hugePages: configuration.wantsHugePages ? .auto : .off,
          lockMemory: configuration.wantsLockedMemory ? .auto : .off,
          numa: configuration.wantsNUMA ? .auto : .off, prefault: configuration.wantsPrefault))
    } catch {
      throw .memory("\(error)")
    }
  }

  /// Several slabs, since each serves one namespace at a time; of whole huge pages, if it can be.
  private static func stagingSlab(_ bytes: Int) -> Int {
    let slabs = 8
    let pages = [2 << 20, 64 << 10].first { bytes >= slabs * $0 } ?? diskBlockBytes
    return max(pages, bytes / slabs / pages * pages)
  }

  // MARK: Disk

  private static func makePool(
    _ configuration: ServerConfiguration, _ settings: PoolConfiguration, arena: Arena,
    staging: Arena, tier: DiskTier
  ) -> Pool {
    var settings = settings
    let arenaBytes = arena.statistics.capacityBytes
    // What is being written cannot be evicted: the rest is for those who store.
    settings.writeBehindBytesMax = min(configuration.disk.writeBehind.bytes, arenaBytes / 2)
    settings.writeBytesPerDay = configuration.disk.dailyWrites.bytes
    return Pool(
      configuration: settings, arena: arena, clock: SystemClock(), wallClock: SystemWallClock(),
      tier: tier, staging: staging, admission: configuration.disk.admission.policy)
  }

  private static func openTier(
    _ configuration: ServerConfiguration, _ memory: DiskMemory, _ directories: DiskDirectories,
    _ events: EventLog, _ log: Logger
  ) throws(StartError) -> DiskTier {
    let diskLog = DiskLog(log: log, clock: SystemClock(), events: events)
    let tier: DiskTier
    do {
      tier = try DiskTier(
        configuration.disk.tierConfiguration(memory), directories: directories.configurations,
        clock: SystemClock(), wallClock: SystemWallClock(), report: diskLog.report)
    } catch {
      throw .disk("\(error)")
    }
    if configuration.limits.maxObjectBytes > tier.objectBytesMax {
      log.notice(
        "objects larger than a disk segment holds stay in RAM only",
        metadata: [
          "max_object": "\(configuration.limits.maxObjectBytes)",
          "disk_object_max": "\(tier.objectBytesMax)",
        ])
    }
    return tier
  }
}

extension DiskSettings {
  private static let journalBytesMax = 8 << 20
  private static let journalBytesMin = 64 << 10

  /// The same in the tier's terms.
  fileprivate func tierConfiguration(_ memory: DiskMemory) -> DiskConfiguration {
    var configuration = DiskConfiguration()
    configuration.segmentBytes = segment.bytes
    configuration.journalBytes = max(
      Self.journalBytesMin,
      min(Self.journalBytesMax, segment.bytes / 8 / diskBlockBytes * diskBlockBytes))
    configuration.writesInFlight = depth
    configuration.readsInFlight = depth
    configuration.queuedWriteBytesMax = writeBehind.bytes
    configuration.syncDelayMilliseconds = UInt64(writeDelayMilliseconds)
    configuration.reinsertedBytesMax = memory.reinsertedBytesMax
    configuration.objectsMax = memory.objectsMax
    return configuration
  }
}
