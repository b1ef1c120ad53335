internal import CPlatform
internal import KDNControl
internal import KDNCore

/// What a running daemon says of itself, and what its directories are like.
struct DaemonCheckup {
  private struct VersionAnswer: Decodable { let version: String }

  /// Everything that was looked at.
  let findings: [Finding]
  /// The memory that it was given; nil if there is none to ask.
  let cacheBytes: Int?
  /// Its process; nil if there is none to ask.
  let pid: Int32?

  /// Asks the daemon; one that does not answer is a finding, too.
  init(_ client: AdminClient) {
    do {
      let version = try client.get("/version", as: VersionAnswer.self).version
      let report = try client.get("/stats", as: DaemonReport.self)
      let configuration = try client.get("/config", as: ConfigurationReport.self)
      let readiness = try Self.readiness(client)
      cacheBytes = report.pool.memoryBytesMax
      pid = report.process.pid
      findings =
        [Self.version(version), Self.memory(report.memory), Self.reload(report.reload)]
        + readiness + Self.directories(configuration)
    } catch {
      cacheBytes = nil
      pid = nil
      let remedy =
        error is ControlFault
        ? "give a token of an administrator: --admin-token-file or KDN_ADMIN_TOKEN"
        : "start kdnd, or name its endpoint with --admin HOST:PORT"
      findings = [.error("daemon", "\(error)", remedy: remedy)]
    }
  }

  private static func version(_ version: String) -> Finding {
    guard version != KDNCommand.version else { return .ok("version", version) }
    return .warning(
      "version", "kdnd \(version), kdn \(KDNCommand.version)",
      remedy: "restart kdnd after an upgrade, or upgrade kdn")
  }

  private static func memory(_ memory: MemoryReport) -> Finding {
    .ok("arena", "\(Text.bytes(memory.capacityBytes)): \(memory.placement)")
  }

  private static func reload(_ reload: ReloadState) -> Finding {
    guard reload.lastSucceeded else {
      return .error(
        "reload", reload.lastFault ?? "the last one was refused",
        remedy: "mend the configuration and reload again; the old one holds until then")
    }
    return .ok("reload", "the configuration that holds is the one that was read last")
  }

  /// A daemon that is not ready answers 503, with the same body.
  private static func readiness(_ client: AdminClient) throws -> [Finding] {
    let answer = try client.answer(.GET, "/readyz?verbose")
    let report = try ControlJSON.decode(ReadinessReport.self, from: answer.body)
    return report.checks.map { check in
      check.isOK
        ? .ok("ready: \(check.name)", check.detail)
        : .error("ready: \(check.name)", check.detail, remedy: "see the daemon's log")
    }
  }

  private static func directories(_ configuration: ConfigurationReport) -> [Finding] {
    let places = configuration.entries.first { $0.key == "disk" }?.values ?? []
    return places.compactMap { try? DirectoryFacts($0) }.map(\.finding)
  }
}

/// A directory of the disk tier as the file system sees it.
private struct DirectoryFacts {
  /// Magic numbers of file systems that O_DIRECT or a loss of power ends badly on; from statfs(2).
  private static let unfit: [Int64: String] = [
    0x0102_1994: "tmpfs", 0x6969: "NFS", 0x794C_7630: "overlayfs", 0x6573_5546: "FUSE",
  ]

  let path: String
  let capacityBytes: Int
  private var fileSystem: Int64 = 0
  private var freeBytes: Int64 = 0
  private var isThere = false

  init(_ text: String) throws {
    guard let colon = text.lastIndex(of: ":") else {
      throw FieldFault("disk", value: 0, limit: 0, "an entry is PATH:SIZE")
    }
    path = String(text[..<colon])
    capacityBytes = try ByteCount(
      parsing: String(text[text.index(after: colon)...]), field: "disk"
    ).bytes
    isThere = unsafe kdn_file_system(path, &fileSystem, &freeBytes) == 0
  }

  var finding: Finding {
    let check = "disk \(path)"
    guard isThere else {
      return .error(check, "cannot be looked at", remedy: "make the directory, or run as its owner")
    }
    if let name = Self.unfit[fileSystem] {
      return .warning(
        check, "is on \(name)", remedy: "put it on ext4 or XFS of a local device")
    }
    return .ok(check, "cap \(Text.bytes(capacityBytes)), \(Text.bytes(freeBytes)) free beside it")
  }
}
