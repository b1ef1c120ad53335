import Glibc
import KDNCore
import Testing

@testable import KDNTransport

@Suite("A listener")
struct ListenerTests {
  @Test("accepts on a port that the kernel chose and sets TCP_NODELAY")
  func acceptsTCP() async throws {
    let noDelay = try await accept(on: Endpoint(parsingTCP: "127.0.0.1:0", field: "tcp")) {
      number in
      var value: Int32 = 0
      var size = socklen_t(MemoryLayout<Int32>.size)
      getsockopt(number, Int32(IPPROTO_TCP), TCP_NODELAY, &value, &size)
      return value
    }
    #expect(noDelay != 0)
  }

  @Test("accepts on a Unix socket and removes its path when it stops")
  func acceptsUnix() async throws {
    let path = "/tmp/kdn-listener-\(getpid()).sock"
    let accepted = try await accept(on: Endpoint(parsingUnix: path, field: "unix")) { _ in 1 }
    #expect(accepted == 1)
    #expect(access(path, F_OK) != 0)
  }

  @Test("takes over the path of a dead process, not of a living one")
  func takesOverStalePath() throws {
    let path = "/tmp/kdn-stale-\(getpid()).sock"
    defer { unlink(path) }
    let endpoint = try Endpoint(parsingUnix: path, field: "unix")
    do {
      _ = try Listener(
        endpoint,
        accepted: {
          close($0)
          _ = $1
        }, troubled: { _ in })
    }
    #expect(access(path, F_OK) == 0)
    let second = try Listener(
      endpoint,
      accepted: {
        close($0)
        _ = $1
      }, troubled: { _ in })
    #expect(throws: TransportError.self) {
      try Listener(
        endpoint,
        accepted: {
          close($0)
          _ = $1
        }, troubled: { _ in })
    }
    withExtendedLifetime(second) {}
  }

  @Test("says which address is taken")
  func refusesTakenAddress() throws {
    let first = try Listener(
      Endpoint(parsingTCP: "127.0.0.1:0", field: "tcp"),
      accepted: {
        close($0)
        _ = $1
      },
      troubled: { _ in })
    let error = #expect(throws: TransportError.self) {
      try Listener(
        first.endpoint,
        accepted: {
          close($0)
          _ = $1
        }, troubled: { _ in })
    }
    #expect(error?.isAddressTrouble == true)
    #expect(error?.subject == "\(first.endpoint)")
  }

  @Test(
    "an endpoint that cannot be read is refused with its field",
    arguments: ["", "9440", ":9440", "host:", "host:65536", "host:-1"])
  func refusesBadEndpoint(text: String) {
    let fault = #expect(throws: FieldFault.self) { try Endpoint(parsingTCP: text, field: "tcp") }
    #expect(fault?.field == "tcp")
  }

  @Test(
    "only loopback counts as loopback",
    arguments: [
      ("127.0.0.1:1", true), ("127.9.9.9:1", true), ("[::1]:1", true), ("localhost:1", true),
      ("0.0.0.0:1", false), ("10.0.0.1:1", false), ("127.example.org:1", false), ("[::]:1", false),
    ])
  func knowsLoopback(text: String, isLoopback: Bool) throws {
    #expect(try Endpoint(parsingTCP: text, field: "tcp").isLoopback == isLoopback)
  }

  /// Listens, connects, and gives what `look` finds on the accepted socket.
  private func accept(
    on endpoint: Endpoint, _ look: @escaping @Sendable (Int32) -> Int32
  ) async throws -> Int32 {
    let loop = try Loop(label: "test.listener")
    let client = Shared<Int32>(-1)
    let found: Int32 = await withCheckedContinuation { done in
      loop.post { loop in
        let once = Once(done)
        let box = Shared<ListenerHolder?>(nil)
        let listener = try? Listener(
          endpoint,
          accepted: { number, loop in
            let found = look(number)
            close(number)
            box.value?.listener.stop(on: loop)
            box.update { $0 = nil }
            loop.stop()
            once.resume(found)
          }, troubled: { _ in once.resume(-1) })
        guard let listener, (try? listener.start(on: loop)) != nil else { return once.resume(-2) }
        box.update { $0 = ListenerHolder(listener) }
        client.update { $0 = connect(to: listener.endpoint) }
      }
    }
    close(client.value)
    return found
  }

  private func connect(to endpoint: Endpoint) -> Int32 {
    guard let address = try? SocketAddress(endpoint) else { return -1 }
    let number = socket(address.family, Int32(SOCK_STREAM.rawValue), 0)
    _ = address.withPointer { Glibc.connect(number, $0, $1) }
    return number
  }
}

// Safe because: used only on the loop of one test.
private final class ListenerHolder: @unchecked Sendable {
  let listener: Listener
  init(_ listener: Listener) { self.listener = listener }
}

private final class Once: Sendable {
  private let waiting: Guarded<CheckedContinuation<Int32, Never>?>

  init(_ continuation: CheckedContinuation<Int32, Never>) { waiting = Guarded(continuation) }

  func resume(_ value: Int32) {
    let continuation = waiting.withLock { waiting in
      defer { waiting = nil }
      return waiting
    }
    continuation?.resume(returning: value)
  }
}
