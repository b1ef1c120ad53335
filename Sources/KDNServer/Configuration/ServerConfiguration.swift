package import KDNCore
package import KDNTransport
package import Logging

/// A daemon's configuration, checked.
package struct ServerConfiguration: Sendable {
  /// Where to listen without TLS.
  package var endpoints: [Endpoint]
  /// Permission bits of the Unix socket.
  package var unixMode: UInt32
  /// Memory shared with clients of the Unix socket.
  package var sharedMemory: SharedMemorySettings
  /// Clients of the fabric.
  package var rdma: RDMASettings
  /// Where to listen with TLS, and with what.
  package var tls: TLSSettings
  /// Clients of Redis: where, and how they are served.
  package var resp: RESPSettings
  /// The HTTP endpoint for administrators.
  package var admin: AdminSettings
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
  /// Which objects are kept encoded.
  package var codecs: CodecSettings
  /// Blends of documents.
  package var blends: BlendConfiguration
  /// The tenants that the configuration itself names, in the order of their names.
  package var tenants: [Tenant]
  /// Path of the file of further tenants; nil if there is none.
  package var namespacesFile: String?
  /// Limits of the development namespace.
  package var developmentLimits: NamespaceLimits
  /// The namespace open to all, on loopback only.
  package var hasDevelopmentNamespace: Bool
  /// Limits of a connection.
  package var limits: Limits
  /// How long a drain may take.
  package var drainTimeoutMilliseconds: Int
  /// A request that takes longer is logged as slow; 0: none is.
  package var slowRequestMilliseconds: Int
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
  /// - Parameters:
  ///   - flags: texts by key.
  ///   - environment: all variables of the process.
  ///   - file: the text of the YAML file; nil if there is none.
  ///   - passed: sockets that a supervisor listens on: they stand in for the addresses of their
  ///     kind.
  /// - Throws: all faults found in keys and values.
  package init(
    flags: [String: [String]] = [:], environment: [String: String] = [:], file: String? = nil,
    passed: [(kind: LinkKind, endpoint: Endpoint)] = []
  ) throws(ConfigurationFault) {
    let sources = try SettingSources(flags: flags, environment: environment, file: file)
    var parser = SettingParser(sources: sources)
    let passedTLS = passed.filter { $0.kind == .tls }.map(\.endpoint)
    endpoints = parser.plainEndpoints(passed)
    unixMode = parser.mode("unix_mode")
    sharedMemory = parser.sharedMemory()
    rdma = parser.rdma()
    tls = parser.tls(passed: passedTLS)
    resp = parser.resp(passed: passed.filter { $0.kind == .resp }.map(\.endpoint))
    let listeners = endpoints + tls.endpoints + resp.endpoints + rdma.endpoints
    parser.requireListener(listeners)
    admin = parser.admin()
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
    codecs = parser.codecs()
    blends = BlendConfiguration(
      workers: parser.count("blend_workers", 1...64),
      ttlSeconds: parser.count("blend_ttl", 1...86_400))
    let isLoopback = listeners.allSatisfy(\.isLoopback)
    hasDevelopmentNamespace =
      parser.choice("development_namespace", ["auto": true, "off": false], else: false)
      && isLoopback
    (tenants, developmentLimits) = parser.tenants(
      hasDevelopment: hasDevelopmentNamespace, verifiesClients: tls.clientCAPath != nil)
    codecs.development = parser.namespaceCodecs(
      &tenants, hasDevelopment: hasDevelopmentNamespace)
    namespacesFile = parser.path("namespaces_file")
    limits = parser.limits()
    parser.requireNamespace(
      of: resp, tenants, hasFile: namespacesFile != nil, hasDevelopment: hasDevelopmentNamespace)
    drainTimeoutMilliseconds = parser.count("drain_timeout_ms", 0...3_600_000)
    slowRequestMilliseconds = parser.count("slow_request_ms", 0...3_600_000)
    logFormat = parser.choice(
      "log_format", ["logfmt": .logfmt, "json": .json], else: LogFormat.logfmt)
    let levels = Logger.Level.allCases.map { ($0.rawValue, $0) }
    logLevel = parser.choice("log_level", Dictionary(uniqueKeysWithValues: levels), else: .info)
    logsForJournal = parser.choice(
      "log_journal", ["auto": environment["JOURNAL_STREAM"] != nil, "on": true, "off": false],
      else: false)
    parser.requireEntry(tenants.isEmpty && namespacesFile == nil && !hasDevelopmentNamespace)
    let order = Setting.all.map(\.key)
    effective = parser.effective.sorted {
      order.firstIndex(of: $0.setting.key) ?? 0 < order.firstIndex(of: $1.setting.key) ?? 0
    }
    guard parser.faults.isEmpty else { throw ConfigurationFault(faults: parser.faults) }
  }
}

extension ServerConfiguration {
  /// Whether memory is shared with clients, if the kernel lets it.
  var offersSharedMemory: Bool {
    sharedMemory.isWanted && endpoints.contains { if case .unix = $0 { true } else { false } }
  }
}
