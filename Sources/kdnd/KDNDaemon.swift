import ArgumentParser
import Dispatch
import FoundationEssentials
import Glibc
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
      key in upper case) or in the file; the first of these wins. Exit codes: 0 ended as asked, \
      1 failed while serving, 3 a drain was cut short, 64 wrong usage, 69 an address is taken, \
      71 the system gave no memory or no descriptors, 78 wrong configuration, or a disk directory \
      that cannot be used.
      """,
    version: "kdnd \(Version.text)")

  @Option(help: "YAML file with the configuration.")
  var config: String?
  @Option(help: "TCP address to listen on, HOST:PORT; may be given several times.")
  var tcp: [String] = []
  @Option(help: "Unix socket to listen on.")
  var unix: String?
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
    let configuration = try loadConfiguration()
    if checkConfig { return Self.show(configuration) }
    LoggingSystem.bootstrap { _ in
      StreamLogHandler(
        format: configuration.logFormat, level: configuration.logLevel,
        isForJournal: configuration.logsForJournal)
    }
    let log = Logger(label: "kdnd")
    signal(SIGPIPE, SIG_IGN)
    let lifecycle = Lifecycle(log: log)
    log.info("starting", metadata: ["version": "\(Version.text)", "pid": "\(getpid())"])
    do {
      let server = try Server(configuration, resetsCache: resetCache, log: log)
      lifecycle.serve(server)
    } catch {
      log.critical("cannot start", metadata: ["error": "\(error)"])
      throw Self.exit(for: error).code
    }
    withExtendedLifetime(lifecycle) { dispatchMain() }
  }

  private func loadConfiguration() throws -> ServerConfiguration {
    do {
      let environment = ProcessInfo.processInfo.environment
      let file = try (config ?? environment["KDN_CONFIG"]).map { path in
        try String(contentsOfFile: path, encoding: .utf8)
      }
      return try ServerConfiguration(flags: try flags(), environment: environment, file: file)
    } catch let fault as ConfigurationFault {
      for fault in fault.faults { Self.complain("configuration: \(fault)") }
      throw Exit.wrongConfiguration.code
    } catch let error as ValidationError {
      throw error
    } catch {
      Self.complain("configuration file: \(error)")
      throw Exit.wrongConfiguration.code
    }
  }

  private func flags() throws -> [String: [String]] {
    var flags: [String: [String]] = [:]
    if !tcp.isEmpty { flags["tcp"] = tcp }
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
    case .configuration, .disk: .wrongConfiguration
    }
  }

  private static func show(_ configuration: ServerConfiguration) {
    for (setting, value) in configuration.effective {
      let text =
        setting.isList ? "[\(value.texts.joined(separator: ", "))]" : value.texts.joined()
      print("\(setting.key): \(text)  # \(value.origin.rawValue)")
    }
  }

  private static func complain(_ text: String) {
    StandardError.write("kdnd: \(text)\n")
  }
}
