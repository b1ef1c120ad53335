internal import FoundationEssentials
internal import KDNControl
internal import KDNCore
internal import KDNMemory
internal import KDNTransport
internal import Synchronization

/// Memory that the daemon shares with clients of its Unix sockets: whether, with whom, how much.
final class SharedMemory: Sendable {
  /// The least that a window is made of, if so much was wanted.
  static let windowBytesMin = 64 << 10
  /// Connections that a report tells of.
  static let reportedMax = 64
  /// Windows of all connections have room for so many of the largest.
  private static let windowsOfLargest = 8
  /// Windows of all connections together take at most this part of all memory.
  private static let memoryParts = 16
  /// Clients may keep at most this part of the arena mapped that has been handed on.
  private static let strandedParts = 8
  /// What Linux calls a user whom it cannot name, unless told otherwise.
  private static let usualUnknownUser: UInt32 = 65_534
  private static let pageBytes = 4096

  /// Whether it is offered at all: wanted, and the kernel seals memory.
  let isOffered: Bool
  /// Bytes that all windows may take together.
  let windowBytesMax: Int
  private let arena: Arena
  private let unknownUser: UInt32
  private let windows = Guarded(Windows())
  private let refused = Atomic<UInt64>(0)
  private let uses = Guarded<[OwnerName: MemoryShareUse]>([:])

  /// Number of a connection.
  typealias OwnerName = UInt64

  private struct Windows: Sendable {
    var count = 0
    var byteCount = 0
  }

  /// Offers memory of `arena`, or not, and windows of at most `windowBytesMax` together.
  init(_ arena: Arena, isOffered: Bool, windowBytesMax: Int) {
    self.arena = arena
    self.isOffered = isOffered
    self.windowBytesMax = windowBytesMax
    let text = try? String(contentsOfFile: "/proc/sys/kernel/overflowuid", encoding: .utf8)
    unknownUser =
      text.flatMap { UInt32($0.split(separator: "\n").first ?? "") } ?? Self.usualUnknownUser
  }

  /// Room that windows are to have beside the arena.
  static func windowBytes(of configuration: ServerConfiguration) -> Int {
    guard configuration.offersSharedMemory else { return 0 }
    let (all, isTooMuch) = configuration.sharedMemory.window.bytes
      .multipliedReportingOverflow(by: windowsOfLargest)
    let part = configuration.memory.bytes / memoryParts
    return (isTooMuch ? part : min(all, part)) / pageBytes * pageBytes
  }

  /// Whether memory is shared with `peer`; counts who is refused.
  func admits(_ peer: PeerCredentials, _ settings: SharedMemorySettings) -> Bool {
    guard isOffered else { return false }
    if settings.admits(user: peer.uid, process: peer.pid, unknownUser: unknownUser) { return true }
    refused.add(1, ordering: .relaxed)
    return false
  }

  /// Memory of slabs that clients keep mapped and the daemon has handed on.
  var strandedBytes: Int { arena.strandedBytes }
  /// How much of that there may be for more slabs to be mapped.
  var strandedBytesMax: Int {
    arena.placement.slabCount * arena.placement.slabBytes / Self.strandedParts
  }

  // MARK: Windows

  /// Takes room for a window of `wanted` bytes, or as much as `values` and the others leave.
  ///
  /// It is never more than half of what is left, so that there is some for the next.
  /// - Returns: whole pages; nil if there is too little, or as many windows as there may be.
  func grant(_ wanted: Int, _ values: LiveValues) -> Int? {
    windows.withLock { windows in
      let half = (windowBytesMax - windows.byteCount) / 2
      let least = min(wanted, Self.windowBytesMin)
      let granted = min(wanted, values.sharedMemory.window.bytes, half)
      guard granted >= least, windows.count < values.windowsMax else { return nil }
      let whole = (granted + Self.pageBytes - 1) / Self.pageBytes * Self.pageBytes
      windows.count += 1
      windows.byteCount += whole
      return whole
    }
  }

  /// Gives back the room of a window.
  func returned(_ byteCount: Int) {
    windows.withLock { windows in
      windows.count -= 1
      windows.byteCount -= byteCount
    }
  }

  // MARK: Reports

  func remember(_ use: MemoryShareUse) { uses.withLock { $0[use.connection] = use } }
  func forget(_ use: MemoryShareUse) { uses.withLock { $0[use.connection] = nil } }

  /// How many connections share memory now.
  var shareCount: Int { uses.withLock(\.count) }

  /// What is shared, and with whom: those with the most bytes first.
  var report: SharedMemoryReport {
    let peers = uses.withLock { Array($0.values) }.map(\.report)
    let largest = peers.sorted {
      ($0.leasedBytes + $0.windowBytes, $1.connection) > (
        $1.leasedBytes + $1.windowBytes, $0.connection
      )
    }
    return SharedMemoryReport(
      offered: isOffered, leases: peers.reduce(0) { $0 + $1.leases },
      leasedBytes: peers.reduce(0) { $0 + $1.leasedBytes },
      windows: windows.withLock(\.count), windowBytes: windows.withLock(\.byteCount),
      windowBytesMax: windowBytesMax, strandedBytes: strandedBytes,
      refusedTotal: refused.load(ordering: .relaxed),
      connections: Array(largest.prefix(Self.reportedMax)))
  }
}

extension SharedMemoryReport {
  /// The same for clients, who are told nothing of each other.
  var withoutConnections: SharedMemoryReport {
    var report = self
    report.connections = []
    return report
  }
}

/// Who shares memory, and how much; read by reports while the connection's loop writes it.
final class MemoryShareUse: Sendable {
  let connection: UInt64
  private let namespace: String
  private let peer: PeerCredentials
  private let leases = Atomic<Int>(0)
  private let leasedBytes = Atomic<Int>(0)
  private let windowBytes = Atomic<Int>(0)

  init(connection: UInt64, namespace: String, peer: PeerCredentials) {
    self.connection = connection
    self.namespace = namespace
    self.peer = peer
  }

  func setLeases(_ count: Int, byteCount: Int) {
    leases.store(count, ordering: .relaxed)
    leasedBytes.store(byteCount, ordering: .relaxed)
  }

  func setWindow(byteCount: Int) { windowBytes.store(byteCount, ordering: .relaxed) }

  fileprivate var report: SharedMemoryReport.Connection {
    SharedMemoryReport.Connection(
      connection: connection, namespace: namespace, pid: peer.pid, uid: peer.uid,
      leases: leases.load(ordering: .relaxed), leasedBytes: leasedBytes.load(ordering: .relaxed),
      windowBytes: windowBytes.load(ordering: .relaxed))
  }
}
