import Foundation
import KDNClient
import KDNCore
import KDNTier
import KDNWire
import Logging

@testable import KDNServer

/// A directory of its own for one test, and servers over it.
final class DiskFixture: ServerTesting {
  static let capacity = "96MiB"
  static let segment = "4MiB"
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appending(path: "kdn-\(UUID().uuidString)").path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  var flags: [String: [String]] {
    [
      "disk": ["\(path):\(Self.capacity)"], "disk_segment": [Self.segment],
      "disk_engine": ["threads"],
    ]
  }

  /// Names of all files in the directory.
  var files: Set<String> {
    get throws { Set(try FileManager.default.contentsOfDirectory(atPath: path)) }
  }

  /// Starts a server; a `gate` holds its disk up.
  func start(
    _ more: [String: [String]] = [:], resetsCache: Bool = false, gate: DiskGate? = nil
  ) throws -> Server {
    let configuration = try makeConfiguration(flags.merging(more) { _, new in new })
    var surroundings = Server.Surroundings()
    surroundings.resetsCache = resetsCache
    return try Server(configuration, surroundings, log: .silent) {
      disk, path, log throws(DiskError) in
      let engine = try makeDiskEngine(disk, path: path, log: log)
      return gate.map { GatedEngine(engine, $0) } ?? engine
    }
  }

  /// Ends a server; true if nothing was cut short.
  func stop(_ server: Server) async -> Bool {
    await withCheckedContinuation { done in
      server.drain { done.resume(returning: $0) }
    }
  }

  /// Waits until the server knows all that is on its disk.
  func waitUntilReady(_ client: Client) throws {
    while try numbers(client, "disk")["ready"] as? Bool != true {}
  }

  /// Stores an object on disk for good.
  func putDurably(_ client: Client, _ key: ObjectKey, _ bytes: [UInt8]) throws {
    let facts = PutBeginRequest(key: key, totalBytes: bytes.count, durability: .disk)
    _ = try client.put(facts, bytes: bytes)
  }

  /// Stores objects on disk until RAM has lost the first; returns how many.
  func fill(_ client: Client, size: Int) throws -> Int {
    var count = 0
    while try numbers(client, "pool")["evictions_total"] as? Int == 0 {
      let name = opaque("filler \(count)")
      try putDurably(client, name, bytes(size, seed: UInt8(truncatingIfNeeded: count)))
      count += 1
    }
    return count
  }
}

/// Lets work through to a device, or holds it up.
final class DiskGate: Sendable {
  /// What can be held up; recovery reads segments by calls that block, in `runs`.
  enum Kind: Hashable, Sendable { case reads, runs, syncs }

  private struct State: Sendable {
    var shut: Set<Kind> = []
    var waiting: [@Sendable () -> Void] = []
  }

  private let state = Guarded(State())

  /// Holds up all work of a kind from now on.
  func shut(_ kind: Kind) { state.withLock { _ = $0.shut.insert(kind) } }

  /// Lets everything through, also what waits.
  func open() {
    let waiting = state.withLock { state in
      state.shut = []
      defer { state.waiting = [] }
      return state.waiting
    }
    for work in waiting { work() }
  }

  fileprivate func pass(_ work: DiskWork, _ go: @escaping @Sendable () -> Void) {
    let kind: Kind? =
      switch work {
      case .read: .reads
      case .synchronise: .syncs
      case .run: .runs
      case .write: nil
      }
    let isShut = state.withLock { state in
      guard let kind, state.shut.contains(kind) else { return false }
      state.waiting.append(go)
      return true
    }
    if !isShut { go() }
  }
}

/// An engine behind a gate.
private final class GatedEngine: DiskEngine {
  private let engine: any DiskEngine
  private let gate: DiskGate

  init(_ engine: any DiskEngine, _ gate: DiskGate) {
    self.engine = engine
    self.gate = gate
  }

  var name: String { engine.name }

  func submit(
    _ work: DiskWork, completion: @escaping @Sendable (Result<Void, DiskError>) -> Void
  ) {
    gate.pass(work) { [engine] in engine.submit(work, completion: completion) }
  }

  func shutDown() { engine.shutDown() }
}
