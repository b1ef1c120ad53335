import Foundation
import Glibc
import KDNCore
import KDNMemory
import Testing

@testable import KDNTransport

/// What tests of endpoints need: a listener on the device, and connections made to it.
enum Fabric {
  /// The address of the device.
  static var address: String { ProcessInfo.processInfo.environment["RDMA_ADDRESS"] ?? "10.77.0.1" }

  /// Long enough for an emulated machine; only a broken one takes as long.
  static var deadline: Instant { SystemClock().now().advanced(milliseconds: 120_000) }
}

/// Memory of a test that a device can reach.
final class FabricMemory {
  let bytes: UnsafeMutableRawBufferPointer
  private(set) var region: RDMARegion?

  init(_ count: Int, _ access: RDMAAccess, in context: RDMAContext) throws {
    bytes = .allocate(byteCount: count, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0xEE)
    region = try RDMARegion(bytes, access: access, in: context)
  }

  deinit {
    region = nil
    bytes.deallocate()
  }

  /// Fills it with bytes that tell their place.
  func number(seed: UInt64) {
    let words = bytes.bindMemory(to: UInt64.self)
    for index in words.indices { words[index] = (seed &+ UInt64(index)) &* 0x9E37_79B9_7F4A_7C15 }
  }

  func piece(_ range: Range<Int>? = nil) throws -> RDMAPiece {
    let region = try #require(region)
    let range = range ?? 0..<bytes.count
    return RDMAPiece(
      of: region, address: region.address + UInt64(range.lowerBound), byteCount: range.count)
  }

  /// Deregisters it.
  func revoke() { region = nil }
}

/// Serves connections on a loop of its own, each as `serve` says whenever something is to be done.
final class FabricServer: Sendable {
  typealias Serve = (RDMAEndpoint, isolated Loop) -> Bool

  /// One connection on the loop, until `serve` or the endpoint says that it is over.
  private final class Member: LoopMember {
    let endpoint: RDMAEndpoint
    let serve: Serve
    let server: FabricServer
    var token: UInt64?
    /// Whether it takes all input that comes.
    let isGreedy: Bool

    init(_ endpoint: RDMAEndpoint, _ serve: @escaping Serve, _ server: FabricServer) {
      self.endpoint = endpoint
      isGreedy = server.isGreedy
      self.serve = serve
      self.server = server
    }

    func ready(readable: Bool, writable: Bool, on loop: isolated Loop) {
      guard let token else { return }
      var goesOn = true
      // Looking for input ends with a look at all that is finished, so nothing is left behind.
      repeat {
        goesOn = endpoint.poll() && serve(endpoint, loop)
      } while goesOn && endpoint.hasBufferedInput && isGreedy
      guard !goesOn || endpoint.fault != nil else { return }
      loop.unwatch(token, endpoint.channelNumber)
      self.token = nil
      endpoint.close()
      server.ended(endpoint)
    }

    func tick(now: Instant, on loop: isolated Loop) -> Instant { .never }
  }

  private struct State: Sendable {
    var endpoint: Endpoint?
    var accepted = 0
    var faults: [RDMAFault?] = []
    var troubles: [RDMAFault] = []
  }

  let loop: Loop
  let devices = RDMADevices()
  private let isGreedy: Bool
  private let state = Guarded(State())
  /// Raised whenever a connection has ended or could not be made.
  private let changes = DispatchSemaphore(value: 0)
  private let stopping = Guarded<(@Sendable (isolated Loop) -> Void)?>(nil)

  /// Listens on the device; what serves is made anew for each connection, on the loop.
  ///
  /// - Parameters:
  ///   - settings: how much it is ready to receive.
  ///   - isGreedy: whether what serves takes all input that there is.
  ///   - makeServe: makes what is called whenever something may be done; false ends a connection.
  /// - Throws: why it cannot listen.
  init(
    settings: RDMASettings = RDMASettings(), isGreedy: Bool = true,
    makeServe: @escaping @Sendable () -> Serve
  ) async throws {
    self.isGreedy = isGreedy
    loop = try Loop(label: "test.fabric")
    let failure: RDMAFault? = await withCheckedContinuation { done in
      loop.post { loop in
        do throws(RDMAFault) {
          try self.listen(settings, makeServe, on: loop)
          done.resume(returning: nil)
        } catch {
          done.resume(returning: error)
        }
      }
    }
    if let failure { throw failure }
  }

  private func listen(
    _ settings: RDMASettings, _ makeServe: @escaping @Sendable () -> Serve, on loop: isolated Loop
  ) throws(RDMAFault) {
    let listener = try RDMAListener(
      .tcp(host: Fabric.address, port: 0), devices: devices, settings: settings,
      accepted: { endpoint, loop in self.serve(endpoint, makeServe(), on: loop) },
      troubled: { fault, _ in
        self.state.withLock { $0.troubles.append(fault) }
        self.changes.signal()
      })
    try listener.start(on: loop)
    let endpoint = listener.endpoint
    state.withLock { $0.endpoint = endpoint }
    let kept = Kept(listener)
    stopping.withLock { $0 = { loop in kept.listener.stop(on: loop) } }
  }

  // Safe because: it is touched only on the server's loop.
  private final class Kept: @unchecked Sendable {
    let listener: RDMAListener
    init(_ listener: RDMAListener) { self.listener = listener }
  }

  private func serve(_ endpoint: RDMAEndpoint, _ serve: @escaping Serve, on loop: isolated Loop) {
    state.withLock { $0.accepted += 1 }
    let member = Member(endpoint, serve, self)
    endpoint.member = member
    do {
      member.token = try loop.watch(endpoint.channelNumber, for: member)
    } catch {
      Issue.record(error)
    }
    member.ready(readable: true, writable: true, on: loop)
  }

  private func ended(_ endpoint: RDMAEndpoint) {
    let fault = endpoint.fault
    state.withLock { $0.faults.append(fault) }
    changes.signal()
  }

  /// Why connections ended, in the order in which they did.
  var faults: [RDMAFault?] { state.withLock { $0.faults } }
  /// Why connections could not be made.
  var troubles: [RDMAFault] { state.withLock { $0.troubles } }
  /// How many connections were made.
  var accepted: Int { state.withLock { $0.accepted } }

  /// Where it listens.
  func endpoint() throws -> Endpoint { try #require(state.withLock { $0.endpoint }) }

  /// Connects to it.
  func dial(
    settings: RDMASettings = RDMASettings(), sharing context: RDMAContext? = nil
  ) throws -> RDMAEndpoint {
    try RDMADialler.connect(
      to: endpoint(), deadline: Fabric.deadline, settings: settings, sharing: context)
  }

  /// Waits until so many connections have ended; a test that waits in vain fails.
  func waitForEnds(_ count: Int) {
    waitUntil { faults.count >= count }
  }

  /// Waits until a connection could not be made; a test that waits in vain fails.
  func waitForTrouble() { waitUntil { !troubles.isEmpty } }

  private func waitUntil(_ isSo: () -> Bool) {
    while !isSo() {
      guard changes.wait(timeout: .now() + 120) == .success else {
        Issue.record("nothing happens")
        return
      }
    }
  }

  /// Stops listening and ends the loop once its work is done.
  func stop() async {
    await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
      loop.post { loop in
        self.stopping.withLock { $0.take() }?(loop)
        loop.stop()
        done.resume()
      }
    }
  }
}

extension RDMAEndpoint {
  /// Receives exactly `count` bytes; waits for them.
  func receive(exactly count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let reception = bytes.withUnsafeMutableBytes {
        receive(
          into: UnsafeMutableRawBufferPointer(rebasing: $0[filled...]),
          then: UnsafeMutableRawBufferPointer(start: nil, count: 0))
      }
      switch reception {
      case .bytes(let more): filled += more
      case .wouldBlock: try wait(until: Fabric.deadline)
      case .ended: throw fault ?? .disconnected
      }
    }
    return bytes
  }

  /// Takes what is there now.
  func takeAvailable(limit: Int = 1 << 16) -> (bytes: [UInt8], hasEnded: Bool) {
    var taken: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while taken.count < limit {
      let reception = buffer.withUnsafeMutableBytes {
        receive(into: $0, then: UnsafeMutableRawBufferPointer(start: nil, count: 0))
      }
      switch reception {
      case .bytes(let count): taken += buffer[..<count]
      case .wouldBlock: return (taken, false)
      case .ended: return (taken, true)
      }
    }
    return (taken, false)
  }

  /// Sleeps until the device has finished something, though there may be input already.
  func sleepUntilCompletion() {
    var entry = pollfd(fd: channelNumber, events: Int16(POLLIN), revents: 0)
    #expect(Glibc.poll(&entry, 1, 120_000) == 1)
    _ = poll()
  }

  /// Waits until the other side has ended the connection, and tells how.
  func waitForEnd() throws -> RDMAFault {
    while true {
      if takeAvailable().hasEnded { return fault ?? .disconnected }
      do throws(RDMAFault) {
        try wait(until: Fabric.deadline)
      } catch {
        return error
      }
    }
  }
}
