import KDNTier

/// Devices in memory that lose, tear and damage what a real one may; the same seed does it alike.
///
/// A device works a number of operations and then has no power: everything fails and nothing
/// changes until `crash`. Single-threaded.
// Safe because: one thread plays a whole simulation.
final class SimulatedDisk: @unchecked Sendable {
  /// How a life ends.
  enum Ending: CaseIterable {
    /// The process dies; what it had written is still in the device's volatile memory.
    case kill
    /// The power fails: of what was not synchronised some sectors are there and some not.
    case powerLoss
  }

  static let sectorBytes = 512
  /// The code of an input or output error.
  static let inputOutputError: Int32 = 5

  var random: RandomSource
  private(set) var directories: [SimulatedDirectory] = []
  /// Operations that are still done; nil without end.
  var operationsUntilPowerLoss: Int?
  private(set) var isPowered = true
  /// What no device can do for its user, and the user did rely on.
  private(set) var violations: [String] = []
  /// What happened, if a failed run is done again to be read.
  var trace: [String]?
  private(set) var operations = 0
  private var lastStamp: UInt64 = 0

  /// Makes one device for each capacity.
  init(seed: UInt64, capacities: [Int]) {
    random = RandomSource(seed: seed)
    for (number, capacity) in capacities.enumerated() {
      directories.append(
        SimulatedDirectory(disk: self, path: "device-\(number)", capacityBytes: capacity))
    }
  }

  /// What an operation meets.
  enum Fate {
    case done
    case failed
    /// The power fails while it is done.
    case interrupted
  }

  /// Decides what becomes of an operation that fails once in `oneIn` times; 0 is never.
  func fate(failingOneIn oneIn: Int) throws(DiskError) -> Fate {
    guard isPowered else { throw DiskError(call: "power", file: "", code: Self.inputOutputError) }
    operations += 1
    if let left = operationsUntilPowerLoss {
      operationsUntilPowerLoss = left - 1
      if left <= 1 {
        isPowered = false
        note { "the power fails" }
        return .interrupted
      }
    }
    return oneIn > 0 && random.isOne(in: oneIn) ? .failed : .done
  }

  /// A number for a write, greater than all before.
  func nextStamp() -> UInt64 {
    lastStamp += 1
    return lastStamp
  }

  /// The number of the last write.
  var stamp: UInt64 { lastStamp }

  func violate(_ text: String) {
    note { "violation: \(text)" }
    violations.append(text)
  }

  func note(_ text: () -> String) {
    if trace != nil { trace?.append(text()) }
  }

  /// Ends a life, and gives the devices power for the next.
  func crash(_ ending: Ending) {
    note { "crash: \(ending)" }
    for directory in directories { directory.endLife(losingPower: ending == .powerLoss) }
    isPowered = true
    operationsUntilPowerLoss = nil
  }
}

/// How often a device fails: once in so many operations, 0 is never.
struct DiskFaults {
  var read = 0
  /// A read that fails or is short; part of the bytes have come.
  var shortRead = 0
  var write = 0
  var synchronise = 0
  /// The device is full.
  var create = 0

  static let none = DiskFaults()
}
