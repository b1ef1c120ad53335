import Foundation
import KDNCore
import KDNTransport
import Testing

@testable import KDNServer

@Suite("What a supervisor says")
struct SupervisionTests {
  private static let pid: Int32 = 4711

  private func fault(_ environment: [String: String]) -> FieldFault? {
    do throws(FieldFault) {
      _ = try PassedSockets(environment: environment, pid: Self.pid)
      return nil
    } catch {
      return error
    }
  }

  @Test("sockets for nobody, or for another process, are none")
  func noSockets() throws {
    for environment in [
      [:], ["LISTEN_FDS": "2"], ["LISTEN_FDS": "2", "LISTEN_PID": "1"],
      ["LISTEN_FDS": "2", "LISTEN_PID": "x"], ["LISTEN_FDS": "0", "LISTEN_PID": "4711"],
    ] {
      #expect(try PassedSockets(environment: environment, pid: Self.pid).entries.isEmpty)
    }
  }

  @Test(
    "a number or names of no sense are refused by the variable's name",
    arguments: [
      ("x", nil, "LISTEN_FDS"), ("-1", nil, "LISTEN_FDS"), ("65", nil, "LISTEN_FDS"),
      ("99999999999999999999", nil, "LISTEN_FDS"), ("1", "tcp:unix", "LISTEN_FDNAMES"),
      ("2", "tcp", "LISTEN_FDNAMES"),
    ])
  func nonsense(count: String, names: String?, field: String) {
    var environment = ["LISTEN_PID": "4711", "LISTEN_FDS": count]
    environment["LISTEN_FDNAMES"] = names
    #expect(fault(environment)?.field == field)
  }

  @Test("variables that concern one process are gone once they were read")
  func variables() {
    setenv("KDN_TEST_VARIABLE", "1", 1)
    ProcessVariables.remove(["KDN_TEST_VARIABLE", "KDN_TEST_NONE"])
    #expect(getenv("KDN_TEST_VARIABLE") == nil)
  }

  @Test("what cannot be the name of a socket is refused", arguments: ["", "@", "relative", "/\0"])
  func names(name: String) {
    #expect(throws: TransportError.self) { _ = try NotifySocket(name) }
  }

  @Test("a notice is lines of assignments, and one line of status whatever it holds")
  func notices() throws {
    let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
    let receiver = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    defer {
      close(receiver)
      unlink(path)
    }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(receiver, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    #expect(bound == 0)
    let clock = ManualClock(start: Instant(nanoseconds: 7_000_000))
    let notifier = Notifier(try NotifySocket(path), clock: clock)
    notifier.starting("a\nREADY=1", milliseconds: 3)
    notifier.ready(String(repeating: "x", count: 1000))
    notifier.reloading()
    notifier.stopping("end", milliseconds: 2)
    notifier.alive()
    let heard = (0..<5).map { _ in
      var bytes = [UInt8](repeating: 0, count: 4096)
      let count = recv(receiver, &bytes, bytes.count, Int32(MSG_DONTWAIT))
      return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
    #expect(
      heard == [
        "STATUS=a READY=1\nEXTEND_TIMEOUT_USEC=3000",
        "READY=1\nSTATUS=" + String(repeating: "x", count: 256),
        "RELOADING=1\nMONOTONIC_USEC=7000",
        "STOPPING=1\nSTATUS=end\nEXTEND_TIMEOUT_USEC=2000", "WATCHDOG=1",
      ])
  }

  @Test("nobody is told where nobody listens")
  func nobody() throws {
    Notifier(nil).ready("well")
    let socket = try NotifySocket("/nonexistent/\(UUID().uuidString)")
    #expect(!socket.send("READY=1"))
  }
}
