import Dispatch
import Glibc
import KDNCore
import Testing

@testable import KDNTransport

@Suite("A loop")
struct LoopTests {
  @Test("runs posted work in order, on its own queue")
  func runsPostedWorkInOrder() async throws {
    let loop = try Loop(label: "test.order")
    let seen = await withCheckedContinuation { done in
      let seen = Shared<[Int]>([])
      for number in 0..<100 {
        loop.post { loop in
          loop.preconditionIsolated()
          seen.update { $0.append(number) }
          if number == 99 { done.resume(returning: seen.value) }
        }
      }
    }
    #expect(seen == Array(0..<100))
    loop.post { $0.stop() }
  }

  @Test("gives each member a tick when it asked for one")
  func ticksWhenAsked() async throws {
    let loop = try Loop(label: "test.tick")
    let pipe = try SocketPair()
    let wanted = SystemClock().now().advanced(milliseconds: 20)
    let ticked: Instant = await withCheckedContinuation { done in
      loop.post { [number = pipe.first] loop in
        let member = TickRecorder { now, loop in
          loop.stop()
          done.resume(returning: now)
        }
        _ = try? loop.watch(number, for: member)
        loop.wake(at: wanted)
      }
    }
    #expect(ticked >= wanted)
  }

  @Test("tells a member once its descriptor can be read")
  func tellsReadiness() async throws {
    let loop = try Loop(label: "test.ready")
    let pipe = try SocketPair()
    let isReadable: Bool = await withCheckedContinuation { done in
      loop.post { [number = pipe.first] loop in
        let member = ReadyRecorder { readable, loop in
          loop.stop()
          done.resume(returning: readable)
        }
        _ = try? loop.watch(number, for: member)
      }
      pipe.write([1], to: pipe.second)
    }
    #expect(isReadable)
  }
}

/// A value that tests share between threads.
final class Shared<Value: Sendable>: Sendable {
  private let state: Guarded<Value>

  init(_ value: Value) { state = Guarded(value) }

  var value: Value { state.withLock { $0 } }
  func update(_ change: (inout Value) -> Void) { state.withLock { change(&$0) } }
}

private final class TickRecorder: LoopMember {
  private var ticked: ((Instant, isolated Loop) -> Void)?

  init(_ ticked: @escaping (Instant, isolated Loop) -> Void) { self.ticked = ticked }

  func ready(readable: Bool, writable: Bool, on loop: isolated Loop) {}
  func tick(now: Instant, on loop: isolated Loop) -> Instant {
    ticked?(now, loop)
    ticked = nil
    return .never
  }
}

private final class ReadyRecorder: LoopMember {
  private var readied: ((Bool, isolated Loop) -> Void)?

  init(_ readied: @escaping (Bool, isolated Loop) -> Void) { self.readied = readied }

  func ready(readable: Bool, writable: Bool, on loop: isolated Loop) {
    readied?(readable, loop)
    readied = nil
  }
  func tick(now: Instant, on loop: isolated Loop) -> Instant { .never }
}

/// Two connected stream sockets, closed with the value.
final class SocketPair: Sendable {
  let first: Int32
  let second: Int32

  init(nonBlocking: Bool = true) throws {
    var numbers: [Int32] = [0, 0]
    let kind = Int32(SOCK_STREAM.rawValue) | (nonBlocking ? Int32(SOCK_NONBLOCK.rawValue) : 0)
    guard socketpair(AF_UNIX, kind, 0, &numbers) == 0 else {
      throw TransportError("socketpair", code: errno)
    }
    first = numbers[0]
    second = numbers[1]
  }

  init(owning first: Int32, _ second: Int32) {
    self.first = first
    self.second = second
  }

  func write(_ bytes: [UInt8], to number: Int32) {
    _ = Glibc.write(number, bytes, bytes.count)
  }

  /// Reads what is there, up to `limit` bytes.
  func read(from number: Int32, limit: Int = 1 << 20) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: limit)
    let count = Glibc.read(number, &buffer, limit)
    return Array(buffer.prefix(max(0, count)))
  }

  deinit {
    close(first)
    close(second)
  }
}
