internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc
internal import KDNClient
internal import KDNCore
internal import KDNTransport

/// `kdn bench`: the same workload on KDN, plain and over TLS, on Redis and on bare sockets, in one
/// run.
struct BenchCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measures throughput, latency and CPU time of GET, PUT, EXISTS and MATCH.",
    discussion: """
      Targets are --kdn (the default if none is given), once for each link of --link, else on the \
      link that the address names, --tls-address: the same daemon over TLS, \
      --redis and --ceiling: a bare blocking \
      sender and receiver over loopback TCP in a process of its own. They take turns round by \
      round; ratios come from medians over rounds. Before it is timed, each target stores the \
      working set and each byte that comes back is compared. --verify concerns KDN only: the \
      client then takes checksums in the timed part, as it does by default outside benchmarks. \
      Of a PUT to KDN each has a fresh key; a SET in Redis overwrites. With --in-place shared \
      memory is also measured without the copy into the client's buffer: the latency is then that \
      to the first readable byte, and with --no-verify the throughput counts bytes that were made \
      readable, not read.
      """,
    subcommands: [DiskCommand.self, ReplayCommand.self])

  @OptionGroup var common: CommonOptions
  @OptionGroup var load: LoadOptions
  @Flag(help: "Measure the daemon at --address.")
  var kdn = false
  @Flag(help: "With shm among the links: measure GET in place, too.")
  var inPlace = false
  @Option(help: "Measure the daemon also over TLS at HOST:PORT; what TLS costs is the ratio.")
  var tlsAddress: String?
  @Option(
    name: .customLong("tls-ca"),
    help: "File with the authority of the daemon's certificate; else the system's.")
  var tlsCA: String?
  @Option(help: "Measure the Redis server at HOST:PORT.")
  var redis: String?
  @Flag(help: "Measure bare sockets.")
  var ceiling = false
  @Option(help: "Process id of kdnd on this machine; else its CPU time is what STATS tells.")
  var serverPid: Int32?
  @Option(help: "Process id of Redis on this machine; else its CPU time is what INFO tells.")
  var redisPid: Int32?

  func validate() throws {
    let links = try common.linkArguments()
    guard !inPlace || links?.choices.contains(.shm) == true else {
      throw ValidationError("--in-place is for --link shm")
    }
    if let tlsAddress { _ = try Endpoint(parsingTCP: tlsAddress, field: "tls-address") }
    if let redis { _ = try Endpoint(parsingTCP: redis, field: "redis") }
  }

  func answer() throws -> Bool {
    let targets = try makeTargets()
    let report = BenchReport(isJSON: common.json)
    try report.begin(description(of: targets))
    var ratios: [RatioLine] = []
    var misses = 0
    for workload in try load.workloads() {
      let runner = BenchRunner(workload, rounds: load.rounds, seconds: load.duration)
      let samples = try runner.run(targets) { target, round, sample in
        misses += sample.record.misses
        try report.sample(target, round: round, sample, of: workload)
      }
      guard let first = targets.first, first is KDNTarget else { continue }
      for (target, others) in zip(targets, samples).dropFirst() {
        ratios.append(RatioLine(first.name, samples[0], to: target.name, others, workload))
      }
    }
    for ratio in ratios { try report.ratio(ratio) }
    if misses != 0 { Output.complain("\(misses) objects were not there; see misses") }
    return misses == 0
  }

  private func makeTargets() throws -> [any BenchTarget] {
    let run = UInt64.random(in: .min ... .max)
    var targets: [any BenchTarget] = []
    if kdn || inPlace || tlsAddress != nil || (redis == nil && !ceiling) {
      targets += try makeKDNTargets(run)
    }
    if let tlsAddress {
      let address = try ServerAddress(parsing: tlsAddress, field: "tls-address")
      let tls = TLSClientOptions(authoritiesPath: tlsCA)
      targets.append(
        KDNTarget(name: "kdn-tls", pid: serverPid, run: run) {
          try common.connect(to: address, on: .tcp, tls: tls)
        })
    }
    if ceiling { targets.append(CeilingTarget()) }
    if let redis, case .tcp(let host, let port) = try Endpoint(parsingTCP: redis, field: "redis") {
      targets.append(RedisTarget(host: host, port: port, pid: redisPid, run: run))
    }
    return targets
  }

  /// The daemon once for each link.
  private func makeKDNTargets(_ run: UInt64) throws -> [any BenchTarget] {
    guard let links = try common.linkArguments() else {
      let link = try addressedLink()
      return [KDNTarget(pid: serverPid, run: run) { try common.connect(on: link) }]
    }
    var targets: [any BenchTarget] = []
    for link in links.choices {
      let name = "kdn-\(link.rawValue)"
      targets.append(
        KDNTarget(name: name, pid: serverPid, run: run) { try common.connect(on: link) })
      guard link == .shm, inPlace else { continue }
      targets.append(
        KDNTarget(name: name + "-place", pid: serverPid, run: run, isInPlace: true) {
          try common.connect(on: link)
        })
    }
    return targets
  }

  /// The link that the address names.
  private func addressedLink() throws -> LinkChoice {
    let address = try common.serverAddress()
    guard !address.usesRDMA else { return .rdma }
    if case .unix = address.endpoint { return .unix }
    return .tcp
  }

  private func description(of targets: [any BenchTarget]) throws -> BenchRun {
    let measuresKDN = targets.contains { $0 is KDNTarget }
    return BenchRun(
      version: KDNCommand.version,
      command: (["kdn"] + CommandLine.arguments.dropFirst()).joined(separator: " "),
      startedAt: Date.now.ISO8601Format(), kernel: Machine.kernel, cores: Machine.cores,
      targets: targets.map(\.name),
      server: measuresKDN ? try common.connect(on: addressedLink()).hello.server : nil,
      rounds: load.rounds, secondsPerRound: load.duration)
  }
}
