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
      Targets are --kdn (the default if none is given), --tls-address: the same daemon over TLS, \
      --redis and --ceiling: a bare blocking \
      sender and receiver over loopback TCP in a process of its own. They take turns round by \
      round; ratios come from medians over rounds. Before it is timed, each target stores the \
      working set and each byte that comes back is compared. --verify concerns KDN only: the \
      client then takes checksums in the timed part, as it does by default outside benchmarks. \
      Of a PUT to KDN each has a fresh key; a SET in Redis overwrites.
      """,
    subcommands: [DiskCommand.self, ReplayCommand.self])

  @OptionGroup var common: CommonOptions
  @OptionGroup var load: LoadOptions
  @Flag(help: "Measure the daemon at --address.")
  var kdn = false
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
      guard let first = targets.first, first.name == "kdn" else { continue }
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
    if kdn || tlsAddress != nil || (redis == nil && !ceiling) {
      targets.append(KDNTarget(pid: serverPid, run: run) { try common.connect() })
    }
    if let tlsAddress {
      let endpoint = try Endpoint(parsingTCP: tlsAddress, field: "tls-address")
      let tls = TLSClientOptions(authoritiesPath: tlsCA)
      targets.append(
        KDNTarget(name: "kdn-tls", pid: serverPid, run: run) {
          try common.connect(to: endpoint, tls: tls)
        })
    }
    if ceiling { targets.append(CeilingTarget()) }
    if let redis, case .tcp(let host, let port) = try Endpoint(parsingTCP: redis, field: "redis") {
      targets.append(RedisTarget(host: host, port: port, pid: redisPid, run: run))
    }
    return targets
  }

  private func description(of targets: [any BenchTarget]) throws -> BenchRun {
    let measuresKDN = targets.contains { $0.name == "kdn" }
    return BenchRun(
      version: KDNCommand.version,
      command: (["kdn"] + CommandLine.arguments.dropFirst()).joined(separator: " "),
      startedAt: Date.now.ISO8601Format(), kernel: Machine.kernel, cores: Machine.cores,
      targets: targets.map(\.name),
      server: measuresKDN ? try common.connect().hello.server : nil,
      rounds: load.rounds, secondsPerRound: load.duration)
  }
}
