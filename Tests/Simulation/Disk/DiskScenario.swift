import KDNCore
import KDNTier

/// What a disk simulation does to a tier, how often and on what devices.
struct DiskScenario {
  /// One for each device.
  var capacities = [64 * 65_536]
  var segmentBytes = 65_536
  var journalBytes = 16_384
  /// How many times the tier is started.
  var lives = 10
  /// Most operations of one life.
  var operationsPerLife = 40
  /// One of so many lives ends with the process alone, not the power.
  var killsOneIn = 3
  /// One of so many lives ends by closing the tier.
  var closesOneIn = 6
  /// What devices do from the start of each life on.
  var faults = DiskFaults.none
  /// Whether the devices are too small, so that what is not pinned may go.
  var mayReclaim = false
  /// Whether the wall clock jumps.
  var hasClockJumps = false
  /// Of so many payloads one is made to look like the log.
  var forgesOneIn = 8

  /// Whether it is noted which device has which object, to tell what a fault may cost.
  var watchesPlaces = false

  /// One of so many operations makes one device fail for the rest of the life.
  var failsOneIn = 0
  /// Most sectors that are damaged between two lives.
  var damages = 0
  /// Whether one tenant has quotas, which change now and then.
  var hasQuotas = false
  /// Lengths of objects.
  var byteCount = DiskUniverse.byteCount

  /// Devices on which nothing has to make room.
  static let roomy = DiskScenario()

  /// Devices far too small for all that is written.
  static var tight: DiskScenario {
    var scenario = DiskScenario()
    scenario.capacities = [9 * 65_536]
    scenario.lives = 5
    scenario.operationsPerLife = 150
    scenario.mayReclaim = true
    return scenario
  }

  /// Many starts, one after the other, with little in between.
  static var restless: DiskScenario {
    var scenario = DiskScenario()
    scenario.lives = 25
    scenario.operationsPerLife = 8
    scenario.killsOneIn = 2
    return scenario
  }

  /// A wall clock that is set forward and back.
  static var jumping: DiskScenario {
    var scenario = DiskScenario()
    scenario.hasClockJumps = true
    return scenario
  }

  /// Devices that now and then fail to do what they are asked.
  static var flaky: DiskScenario {
    var scenario = DiskScenario()
    scenario.faults = DiskFaults(
      read: 120, shortRead: 200, write: 150, synchronise: 80, create: 12)
    scenario.watchesPlaces = true
    scenario.forgesOneIn = 0
    scenario.mayReclaim = true
    return scenario
  }

  /// A device whose synchronise fails, again and again.
  static var unsynchronised: DiskScenario {
    var scenario = DiskScenario()
    scenario.faults.synchronise = 10
    scenario.watchesPlaces = true
    scenario.forgesOneIn = 0
    return scenario
  }

  /// Two devices, one of which fails while the other goes on.
  static var halfFailing: DiskScenario {
    var scenario = DiskScenario()
    scenario.capacities = [40 * 65_536, 40 * 65_536]
    scenario.failsOneIn = 20
    scenario.watchesPlaces = true
    scenario.forgesOneIn = 0
    return scenario
  }

  /// Quotas for one tenant, on devices with room for all.
  static var metered: DiskScenario {
    var scenario = DiskScenario()
    scenario.hasQuotas = true
    return scenario
  }

  /// The same where room has to be made as well.
  static var crowded: DiskScenario {
    var scenario = DiskScenario.tight
    scenario.hasQuotas = true
    return scenario
  }

  /// Two devices without fault.
  static var twofold: DiskScenario {
    var scenario = DiskScenario()
    scenario.capacities = [30 * 65_536, 40 * 65_536]
    return scenario
  }

  /// A device that forgets and alters what it was given.
  static var decaying: DiskScenario {
    var scenario = DiskScenario()
    scenario.damages = 3
    scenario.watchesPlaces = true
    scenario.forgesOneIn = 0
    return scenario
  }

  /// Objects that are written and read in place, in whole pages.
  static var large: DiskScenario {
    var scenario = DiskScenario()
    scenario.segmentBytes = 8 * 65_536
    scenario.capacities = [24 * scenario.segmentBytes]
    scenario.lives = 6
    scenario.operationsPerLife = 25
    scenario.byteCount = { random in
      switch random.number(below: 4) {
      case 0: 65_536 + 4096 * random.number(below: 16)
      case 1: 65_536 + random.number(below: 60_000)
      case 2: 65_535 - random.number(below: 3)
      default: DiskUniverse.byteCount(&random)
      }
    }
    return scenario
  }
}

/// What a tier under test is made of.
struct DiskSetting {
  let scenario: DiskScenario
  let disk: SimulatedDisk
  let engines: [SimulatedEngine]
  let clock: ManualClock
  let wallClock: ManualWallClock
  /// Seed of the tier's own randomness.
  let seed: UInt64
}
