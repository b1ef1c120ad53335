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

  @Test(
    "gives the path of a Unix socket its permissions", arguments: [0o600, 0o660, 0o666] as [UInt32])
  func setsPermissions(mode: UInt32) throws {
    let path = "/tmp/kdn-mode-\(getpid())-\(mode).sock"
    defer { unlink(path) }
    let listener = try Listener(
      Endpoint(parsingUnix: path, field: "unix"), unixMode: mode,
      accepted: { number, _ in _ = close(number) }, troubled: { _ in })
    var status = stat()
    #expect(lstat(path, &status) == 0)
    #expect(status.st_mode & 0o7777 == mode)
    withExtendedLifetime(listener) {}
  }

  @Test("takes over a socket that listens, and leaves its path where it is")
  func adoptsUnix() async throws {
    let path = "/tmp/kdn-adopted-\(getpid()).sock"
    defer { unlink(path) }
    let passed = try listening(on: Endpoint(parsingUnix: path, field: "unix"))
    let accepted = try await accept(adopting: passed) { _ in 1 }
    #expect(accepted == 1)
    #expect(access(path, F_OK) == 0)
  }

  @Test("sets TCP_NODELAY on what a socket that was passed accepts")
  func adoptsTCP() async throws {
    let passed = try listening(on: Endpoint(parsingTCP: "127.0.0.1:0", field: "tcp"))
    let noDelay = try await accept(adopting: passed) { number in
      var value: Int32 = 0
      var size = socklen_t(MemoryLayout<Int32>.size)
      getsockopt(number, Int32(IPPROTO_TCP), TCP_NODELAY, &value, &size)
      return value
    }
    #expect(noDelay != 0)
  }

  @Test("tells where a socket that was passed listens")
  func knowsAdopted() throws {
    let passed = try listening(on: Endpoint(parsingTCP: "127.0.0.1:0", field: "tcp"))
    let port = SocketAddress.boundPort(of: passed)
    let listener = try Listener(
      adopting: passed, accepted: { number, _ in _ = close(number) }, troubled: { _ in })
    #expect(listener.endpoint == .tcp(host: "127.0.0.1", port: port))
    #expect(port > 0)
    #expect(fcntl(passed, F_GETFL) & O_NONBLOCK != 0)
    #expect(fcntl(passed, F_GETFD) & FD_CLOEXEC != 0)
  }

  @Test("refuses to take over what does not listen")
  func refusesOthers() throws {
    let pair = try SocketPair()
    for number in [dup(pair.first), socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0), dup(0), -1] {
      #expect(throws: TransportError.self) {
        try Listener(
          adopting: number, accepted: { number, _ in _ = close(number) }, troubled: { _ in })
      }
    }
  }

  /// A socket that listens, as a service manager makes it.
  private func listening(on endpoint: Endpoint) throws -> Int32 {
    let address = try SocketAddress(endpoint)
    let number = socket(address.family, Int32(SOCK_STREAM.rawValue), 0)
    guard address.withPointer({ bind(number, $0, $1) }) == 0, listen(number, 8) == 0 else {
      throw TransportError("bind", code: errno)
    }
    return number
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
    try await accept(look) { accepted, troubled in
      try? Listener(endpoint, accepted: accepted, troubled: troubled)
    }
  }

  private func accept(
    adopting number: Int32, _ look: @escaping @Sendable (Int32) -> Int32
  ) async throws -> Int32 {
    try await accept(look) { accepted, troubled in
      try? Listener(adopting: number, accepted: accepted, troubled: troubled)
    }
  }

  private func accept(
    _ look: @escaping @Sendable (Int32) -> Int32,
    _ make:
      @escaping @Sendable (
        @escaping (Int32, isolated Loop) -> Void, @escaping (TransportError) -> Void
      ) -> Listener?
  ) async throws -> Int32 {
    let loop = try Loop(label: "test.listener")
    let client = Shared<Int32>(-1)
    let found: Int32 = await withCheckedContinuation { done in
      loop.post { loop in
        let once = Once(done)
        let box = Shared<ListenerHolder?>(nil)
        let listener = make(
          { number, loop in
            let found = look(number)
            close(number)
            box.value?.listener.stop(on: loop)
            box.update { $0 = nil }
            loop.stop()
            once.resume(found)
          }, { _ in once.resume(-1) })
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
