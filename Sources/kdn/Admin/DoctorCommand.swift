internal import ArgumentParser

/// `kdn doctor`: whether machine and daemon are fit.
struct DoctorCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Looks at this machine and the daemon on it; tells what to do about each finding.",
    discussion: "Exit codes: 0 all is well, 1 something should be looked at.")

  @OptionGroup var admin: AdminOptions
  @Flag(help: "Look at the machine alone.") var hostOnly = false

  private struct Report: Encodable {
    let healthy: Bool
    let findings: [Finding]
  }

  func answer() throws -> Bool {
    let daemon = hostOnly ? nil : DaemonCheckup(try admin.client())
    let facts = HostFacts.current(daemonPID: daemon?.pid)
    let host = HostCheckup(facts: facts, cacheBytes: daemon?.cacheBytes)
    let findings = host.findings + (daemon?.findings ?? [])
    let isHealthy = findings.allSatisfy { $0.severity == .ok }
    guard !admin.json else {
      try Output.line(Report(healthy: isHealthy, findings: findings))
      return isHealthy
    }
    for line in findings.flatMap(Self.lines(of:)) { Output.line(line) }
    let count = findings.count { $0.severity != .ok }
    Output.line(isHealthy ? "all is well" : "to be looked at: \(count) of \(findings.count)")
    return isHealthy
  }

  /// A finding, and below it what is to be done.
  static func lines(of finding: Finding) -> [String] {
    let text = Text.wrapped("\(finding.check): \(finding.found)", columns: columns - indent.count)
    let remedy = Text.wrapped(finding.remedy, columns: columns - arrow.count)
    return text.enumerated().map { ($0 == 0 ? mark(finding.severity) : indent) + $1 }
      + remedy.enumerated().map { ($0 == 0 ? arrow : indent + "   ") + $1 }
  }

  private static let columns = 80
  private static let indent = "       "
  private static let arrow = "       -> "

  private static func mark(_ severity: Finding.Severity) -> String {
    switch severity {
    case .ok: "ok     "
    case .warning: "warn   "
    case .error: "ERROR  "
    }
  }
}
