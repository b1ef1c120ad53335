import KDNControl
import KDNCore
import Logging
import Testing

@testable import KDNServer

@Suite("The audit log")
struct ControlAuditTests {
  private let record = RecordingLog()
  private let clock = ManualClock()
  private let fault = ControlFault(.unauthorised, field: "authorization", "wrong token")

  private var audit: AuditLog { AuditLog(log: record.logger(AuditLog.label), clock: clock) }

  @Test("tells who ordered what, from where, and what came of it")
  func tells() {
    let who = AdministratorName("ops", from: "10.0.0.1:5000")
    audit.granted("purge", by: who, [("namespace", "a"), ("objects", "3")])
    audit.refused("pin", by: .signal, fault, [("namespace", "b")])
    #expect(
      record.lines == [
        .init(
          level: .notice, message: "purge",
          values: [
            "result": "granted", "who": "ops", "from": "10.0.0.1:5000", "namespace": "a",
            "objects": "3",
          ]),
        .init(
          level: .notice, message: "pin",
          values: [
            "result": "refused", "who": "signal", "namespace": "b", "code": "unauthorised",
            "field": "authorization", "reason": "wrong token",
          ]),
      ])
  }

  @Test("tells ten of those turned away a second, and then how many it left out")
  func throttles() {
    let audit = audit
    for _ in 0..<15 { audit.turnedAway("purge", by: nil, from: "peer", fault) }
    #expect(record.lines.count == 10)
    clock.advance(milliseconds: 1000)
    audit.turnedAway("purge", by: nil, from: "peer", fault)
    audit.turnedAway("purge", by: nil, from: "peer", fault)
    #expect(record.lines.map { $0.values["silenced"] }.suffix(2) == ["5", nil])
    #expect(record.lines.allSatisfy { $0.values["who"] == "" && $0.values["from"] == "peer" })
  }
}

@Suite("The level of the log")
struct LogThresholdTests {
  private func handler(_ label: String, _ threshold: LogThreshold) -> KDNServer.StreamLogHandler {
    KDNServer.StreamLogHandler(label: label, format: .json, level: threshold, isForJournal: false)
  }

  @Test("changes for loggers that are in use", arguments: Logger.Level.allCases)
  func live(level: Logger.Level) {
    let threshold = LogThreshold(.info)
    let log = Logger(label: "kdnd") { handler($0, threshold) }
    #expect(log.logLevel == .info)
    threshold.level = level
    #expect(log.logLevel == level && threshold.level == level)
  }

  @Test("never hides the audit log")
  func audit() {
    let threshold = LogThreshold(.critical)
    let log = Logger(label: AuditLog.label) { handler($0, threshold) }
    #expect(log.logLevel == .trace)
  }

  @Test("of one logger can be its own")
  func own() {
    let threshold = LogThreshold(.info)
    var log = Logger(label: "kdnd") { handler($0, threshold) }
    log.logLevel = .debug
    threshold.level = .error
    #expect(log.logLevel == .debug)
  }
}
