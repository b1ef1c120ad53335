package import KDNCore
package import KDNTransport
package import Logging

/// A daemon's configuration, checked.
package struct ServerConfiguration: Sendable {
  /// Where to listen; not empty.
  package var endpoints: [Endpoint]
  /// Connections served at once.
  package var connectionsMax: Int
  /// Event loops, at least 1.
  package var loopCount: Int
  /// Memory of arena, index and buffers together.
  package var memory: ByteCount
  /// Size of one slab.
  package var slab: ByteCount
  /// Use huge pages when there are any.
  package var wantsHugePages: Bool
  /// Lock memory when allowed.
  package var wantsLockedMemory: Bool
  /// Spread over NUMA nodes.
  package var wantsNUMA: Bool
  /// Touch all memory at start.
  package var wantsPrefault: Bool
  /// The disk tier.
  package var disk: DiskSettings
  /// Hashes of the tokens that open each namespace.
  package var namespaces: [NamespaceName: [TokenHash]]
  /// The namespace open to all, on loopback only.
  package var hasDevelopmentNamespace: Bool
  /// Limits of a connection.
  package var limits: Limits
  /// How long a drain may take.
  package var drainTimeoutMilliseconds: Int
  /// Form of a log line.
  package var logFormat: LogFormat
  /// The least severe level that is logged.
  package var logLevel: Logger.Level
  /// Whether lines carry the journal's priority.
  package var logsForJournal: Bool
  /// Each key's texts and where they came from, for people.
  package var effective: [(setting: Setting, value: SettingValue)]

  /// Puts the configuration together: flags over environment over file over defaults.
  ///
  /// - Throws: all faults found in keys and values.
  package init(
    flags: [String: [String]] = [:], environment: [String: String] = [:], file: String? = nil
  ) throws(ConfigurationFault) {
    let sources = try SettingSources(flags: flags, environment: environment, file: file)
    var parser = SettingParser(sources: sources)
    endpoints = parser.endpoints()
    connectionsMax = parser.count("max_connections", 1...1_000_000)
    let loops = parser.count("loops", 0...256)
    loopCount = loops == 0 ? SettingParser.defaultLoopCount : loops
    memory = parser.size("ram", 16 << 20...1 << 50)
    slab = parser.size("slab", 1 << 20...1 << 40)
    wantsHugePages = parser.choice("huge_pages", ["auto": true, "off": false], else: true)
    wantsLockedMemory = parser.choice("lock_memory", ["auto": true, "off": false], else: true)
    wantsNUMA = parser.choice("numa", ["auto": true, "off": false], else: true)
    wantsPrefault = parser.choice("prefault", ["on": true, "off": false], else: true)
    disk = parser.disk()
    namespaces = parser.namespaces()
    let wantsDevelopment = parser.choice(
      "development_namespace", ["auto": true, "off": false], else: false)
    hasDevelopmentNamespace = wantsDevelopment && endpoints.allSatisfy(\.isLoopback)
    limits = parser.limits()
    drainTimeoutMilliseconds = parser.count("drain_timeout_ms", 0...3_600_000)
    logFormat = parser.choice(
      "log_format", ["logfmt": .logfmt, "json": .json], else: LogFormat.logfmt)
    let levels = Logger.Level.allCases.map { ($0.rawValue, $0) }
    logLevel = parser.choice("log_level", Dictionary(uniqueKeysWithValues: levels), else: .info)
    logsForJournal = parser.choice(
      "log_journal", ["auto": environment["JOURNAL_STREAM"] != nil, "on": true, "off": false],
      else: false)
    parser.requireEntry(namespaces.isEmpty && !hasDevelopmentNamespace)
    effective = parser.effective
    guard parser.faults.isEmpty else { throw ConfigurationFault(faults: parser.faults) }
  }
}
