/// The facts that INFO tells, by Redis's names where it has one.
package struct RESPInfo: Sendable {
  /// The daemon's own version.
  package var version = ""
  /// The daemon's process.
  package var processID: Int32 = 0
  /// The port that the client has reached.
  package var port = 0
  /// How long the daemon has run, in seconds.
  package var uptimeSeconds: UInt64 = 0
  /// Open RESP connections.
  package var clients = 0
  /// Most connections.
  package var clientsMax = 0
  /// Bytes that the namespace's objects take.
  package var usedBytes: UInt64 = 0
  /// Most bytes that they may take; 0 if there is no limit of their own.
  package var bytesMax: UInt64 = 0
  /// Connections accepted since start.
  package var connectionsTotal: UInt64 = 0
  /// Commands carried out since start.
  package var commandsTotal: UInt64 = 0
  /// Keys that were asked for and here.
  package var hitsTotal: UInt64 = 0
  /// Keys that were asked for and not here.
  package var missesTotal: UInt64 = 0
  /// Keys that made room for others.
  package var evictedTotal: UInt64 = 0
  /// Keys whose TTL ended.
  package var expiredTotal: UInt64 = 0
  /// Keys that are here.
  package var keys = 0
  /// Keys that are here and have a TTL.
  package var expiringKeys = 0

  /// Creates facts that are all zero.
  package init() {}

  /// The text of the sections that are asked for, in small letters; all of them if none is.
  package func text(sections asked: [String]) -> String {
    let isWhole = asked.isEmpty || asked.contains { Self.namesOfAll.contains($0) }
    let told = sections.filter { isWhole || asked.contains($0.title.lowercased()) }
    return told.map(Self.text).joined(separator: "\r\n")
  }

  private typealias Section = (title: String, fields: [(name: String, value: String)])

  private static let namesOfAll: Set<String> = ["all", "default", "everything"]

  private static func text(_ section: Section) -> String {
    let lines = section.fields.map { "\($0.name):\($0.value)\r\n" }
    return "# \(section.title)\r\n" + lines.joined()
  }

  private var sections: [Section] {
    [
      (
        "Server",
        [
          ("redis_version", RESPConversation.redisVersion), ("redis_mode", "standalone"),
          ("server_name", "kdnd"), ("kdn_version", version), ("os", "Linux"),
          ("process_id", "\(processID)"), ("tcp_port", "\(port)"),
          ("uptime_in_seconds", "\(uptimeSeconds)"),
          ("uptime_in_days", "\(uptimeSeconds / 86_400)"),
        ]
      ),
      ("Clients", [("connected_clients", "\(clients)"), ("maxclients", "\(clientsMax)")]),
      (
        "Memory",
        [
          ("used_memory", "\(usedBytes)"), ("maxmemory", "\(bytesMax)"),
          ("maxmemory_policy", "allkeys-lru"),
        ]
      ),
      ("Persistence", [("loading", "0"), ("rdb_bgsave_in_progress", "0"), ("aof_enabled", "0")]),
      (
        "Stats",
        [
          ("total_connections_received", "\(connectionsTotal)"),
          ("total_commands_processed", "\(commandsTotal)"),
          ("keyspace_hits", "\(hitsTotal)"), ("keyspace_misses", "\(missesTotal)"),
          ("evicted_keys", "\(evictedTotal)"), ("expired_keys", "\(expiredTotal)"),
        ]
      ),
      ("Replication", [("role", "master"), ("connected_slaves", "0")]),
      ("Cluster", [("cluster_enabled", "0")]),
      ("Keyspace", keyspace),
    ]
  }

  /// Redis leaves out a database without keys.
  private var keyspace: [(name: String, value: String)] {
    keys == 0 ? [] : [("db0", "keys=\(keys),expires=\(expiringKeys),avg_ttl=0")]
  }
}
