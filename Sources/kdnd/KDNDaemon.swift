import ArgumentParser
import Dispatch
import FoundationEssentials
import Glibc
import KDNAdmin
import KDNCore
import KDNServer
import KDNTransport
import Logging

/// The daemon's command line.
struct KDNDaemon: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kdnd",
    abstract: "Keeps KV caches of large language models and delivers them to engines.",
    discussion: """
      Each key of the configuration file can be set by a flag, by the environment (KDN_ and the \
      key in upper case) or in the file; the first of these wins. Signals: SIGHUP reads the \
      configuration anew, all of it or nothing; SIGTERM and SIGINT drain, a second one ends at \
      once. Exit codes: 0 ended as asked, 1 failed while serving, 3 a drain was cut short, \
      64 wrong usage, 69 an address is taken, 71 the system gave no memory or no descriptors, \
      78 wrong configuration, or a file, a disk directory or a passed socket that cannot be used.
      """,
    version: "kdnd \(Version.text)")

  @Option(help: "YAML file with the configuration.")
  var config: String?
  @Option(help: "TCP address to listen on, HOST:PORT; may be given several times.")
  var tcp: [String] = []
  @Option(help: "Unix socket to listen on.")
  var unix: String?
  @Option(help: "TCP address to listen on with TLS, HOST:PORT; may be given several times.")
  var tls: [String] = []
  @Option(
    help: "TCP address to listen on for clients of Redis, HOST:PORT; may be given several times.")
  var resp: [String] = []
  @Option(help: "HTTP address for administrators, HOST:PORT; may be given several times.")
  var admin: [String] = []
  @Option(help: "All memory of the cache, such as 1GiB.")
  var ram: String?
  @Option(help: "Directory of the disk tier, PATH:SIZE; may be given several times.")
  var disk: [String] = []
  @Option(help: "Event loops.")
  var loops: String?
  @Option(help: "Connections served at once.")
  var maxConnections: String?
  @Option(help: "logfmt or json.")
  var logFormat: String?
  @Option(help: "The least severe level that is logged.")
  var logLevel: String?
  @Option(help: "Any key of the configuration, KEY=VALUE; may be given several times.")
  var set: [String] = []
  @Flag(help: "Check the configuration, print it with each value's source, and end.")
  var checkConfig = false
  @Flag(help: "Drop all that is in the directories of the disk tier, then start.")
  var resetCache = false

  /// Codes that tell a supervisor why the daemon ended; the larger ones are those of sysexits.h.
  enum Exit: Int32 {
    case failed = 1
    case drainCutShort = 3
    case addressTaken = 69
    case systemRefused = 71
    case wrongConfiguration = 78

    var code: ExitCode { ExitCode(rawValue) }
  }

  func run() throws {
    let environment = ProcessInfo.processInfo.environment
    let supervisor = try supervisor(environment)
    let source = try source(environment, supervisor.passed)
    let configuration = try Self.told { () throws(ConfigurationFault) in try source.read() }
    if checkConfig {
      try Self.told { () throws(ConfigurationFault) in try Server.check(configuration) }
      return Self.show(configuration)
    }
    LogThreshold.shared.level = configuration.logLevel
    LoggingSystem.bootstrap { label in
      StreamLogHandler(
        label: label, format: configuration.logFormat, level: .shared,
        isForJournal: configuration.logsForJournal)
    }
    serve(configuration, source, supervisor)
  }

  private func serve(
    _ configuration: ServerConfiguration, _ source: ConfigurationSource, _ supervisor: Supervisor
  ) -> Never {
    let log = Logger(label: "kdnd")
    signal(SIGPIPE, SIG_IGN)
    let lifecycle = Lifecycle(supervisor: supervisor, log: log)
    log.info("starting", metadata: ["version": "\(Version.text)", "pid": "\(getpid())"])
    supervisor.start()
    var surroundings = Server.Surroundings()
    surroundings.source = source
    surroundings.passed = supervisor.passed
    surroundings.resetsCache = resetCache
    do {
      let server = try Server(configuration, surroundings, log: log)
      Task {
        do {
          try await lifecycle.serve(server)
        } catch {
          Self.end(error, log)
        }
      }
    } catch {
      Self.end(error, log)
    }
    withExtendedLifetime(lifecycle) { dispatchMain() }
  }

  private static func end(_ error: any Error, _ log: Logger) -> Never {
    log.critical("cannot start", metadata: ["error": "\(error)"])
    let reason: Exit =
      switch error {
      case let error as StartError: exit(for: error)
      case let error as AdminStartError: error.isAddressTrouble ? .addressTaken : .systemRefused
      default: .failed
      }
    Glibc.exit(reason.rawValue)
  }

  private func supervisor(_ environment: [String: String]) throws -> Supervisor {
    do throws(FieldFault) {
      return try Supervisor(environment: environment, pid: getpid())
    } catch {
      Self.complain("environment: \(error)")
      throw Exit.wrongConfiguration.code
    }
  }

  private func source(
    _ environment: [String: String], _ passed: PassedSockets
  ) throws -> ConfigurationSource {
    ConfigurationSource(
      flags: try flags(), environment: environment, path: config ?? environment["KDN_CONFIG"],
      passed: passed.endpoints)
  }

  /// Tells every fault on standard error.
  private static func told<Value>(
    _ body: () throws(ConfigurationFault) -> Value
  ) throws -> Value {
    do {
      return try body()
    } catch {
      for fault in error.faults { complain("configuration: \(fault)") }
      throw Exit.wrongConfiguration.code
    }
  }

  private func flags() throws -> [String: [String]] {
    var flags: [String: [String]] = [:]
    if !tcp.isEmpty { flags["tcp"] = tcp }
    if !tls.isEmpty { flags["tls"] = tls }
    if !resp.isEmpty { flags["resp"] = resp }
    if !admin.isEmpty { flags["admin"] = admin }
    if !disk.isEmpty { flags["disk"] = disk }
    let named = [
      "unix": unix, "ram": ram, "loops": loops, "max_connections": maxConnections,
      "log_format": logFormat, "log_level": logLevel,
    ]
    for (key, value) in named { flags[key] = value.map { [$0] } }
    for assignment in set {
      guard let equals = assignment.firstIndex(of: "=") else {
        throw ValidationError("--set takes KEY=VALUE, not '\(assignment)'")
      }
      let value = String(assignment[assignment.index(after: equals)...])
      flags[String(assignment[..<equals]), default: []].append(value)
    }
    return flags
  }

  private static func exit(for error: StartError) -> Exit {
    switch error {
    case .address: .addressTaken
    case .system, .memory: .systemRefused
    case .configuration, .files, .disk: .wrongConfiguration
    }
  }

  private static func show(_ configuration: ServerConfiguration) {
    for (setting, value) in configuration.effective {
      let texts = setting.isSecret ? value.texts.map(redacted) : value.texts
      let text = setting.isList ? "[\(texts.joined(separator: ", "))]" : texts.joined()
      print("\(setting.key): \(text)  # \(value.origin.rawValue)")
    }
  }

  /// Of `NAME:SHA256` the name.
  private static func redacted(_ text: String) -> String {
    text.lastIndex(of: ":").map { text[..<$0] + ":…" } ?? "…"
  }

  private static func complain(_ text: String) {
    StandardError.write("kdnd: \(text)\n")
  }
}
