internal import Hummingbird
package import KDNControl
internal import KDNCore
package import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// The HTTP endpoint for administrators, dashboards and monitoring, on a thread of its own.
package final class AdminServer: Sendable {
  private struct State: Sendable {
    var listeners: [any Channel] = []
    var sampler: Task<Void, Never>?
    var connections = 0
  }

  /// How long a stop waits for answers that are under way, and again for what was cut off.
  private static let stopMilliseconds = 1000

  private let configuration: AdminConfiguration
  private let log: Logger
  private let gate: Gate
  private let history = History()
  private let sampler: HistorySampler
  private let responder: RouterResponder<AdminContext>
  private let registry = ConnectionRegistry()
  private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let executor: LoopTaskExecutor
  private let state = Guarded(State())

  /// Prepares an endpoint that serves `control`.
  package init(configuration: AdminConfiguration, control: any DaemonControl, log: Logger) {
    self.configuration = configuration
    self.log = log
    executor = LoopTaskExecutor(group.next())
    let isExposed = configuration.endpoints.contains { !Self.isLoopback($0.host) }
    gate = Gate(
      control: control, hosts: Self.rule(configuration, hosts: configuration.hosts),
      guardsReads: isExposed)
    sampler = HistorySampler(control: control, history: history)
    let report = control.report()
    let routes = Routes(
      history: history,
      startedSeconds: Double(report.unixMilliseconds) / 1000 - report.uptimeSeconds)
    responder = routes.router(gate: gate).buildResponder()
  }

  /// Listens on all addresses; returns them as `host:port`, with the ports that the kernel chose.
  ///
  /// - Throws: the first address that could not be had; none is listened on then.
  package func start() async throws(AdminStartError) -> [String] {
    var bound: [String] = []
    for endpoint in configuration.endpoints {
      let listener: any Channel
      do {
        listener = try await bootstrap.bind(host: endpoint.host, port: endpoint.port).get()
      } catch {
        await stop()
        throw AdminStartError("\(endpoint.host):\(endpoint.port)", error)
      }
      state.withLock { $0.listeners.append(listener) }
      bound.append(Self.text(of: listener.localAddress))
    }
    let task = Task(executorPreference: executor) { [sampler] in await sampler.run() }
    state.withLock { $0.sampler = task }
    return bound
  }

  /// Serves these values of the Host header from now on, beside the endpoint's own names.
  package func setHosts(_ hosts: [String]) {
    gate.setHosts(Self.rule(configuration, hosts: hosts))
  }

  /// Listens no more, lets answers under way end for a moment, and cuts off the rest.
  ///
  /// May be called more than once.
  package func stop() async {
    let (listeners, sampler) = state.withLock { state in
      defer { state.listeners = [] }
      return (state.listeners, state.sampler)
    }
    sampler?.cancel()
    for listener in listeners { try? await listener.close().get() }
    registry.quiesce()
    await waitForConnections()
    registry.close()
    await waitForConnections()
    guard state.withLock({ $0.connections }) == 0 else {
      return log.warning("admin requests outlive the endpoint")
    }
    try? await group.shutdownGracefully()
  }

  private func waitForConnections() async {
    for _ in 0..<Self.stopMilliseconds / 10 where state.withLock({ $0.connections }) > 0 {
      try? await Task.sleep(for: .milliseconds(10))
    }
  }

  private var bootstrap: ServerBootstrap {
    ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 128)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelOption(.maxMessagesPerRead, value: 1)
      .childChannelInitializer { [self] channel in
        channel.eventLoop.makeCompletedFuture { try accept(channel) }
      }
  }

  /// Builds up a connection and begins to serve it.
  private func accept(_ channel: any Channel) throws {
    let admission = registry.admit(max: configuration.connectionsMax)
    let watch = ConnectionWatch(
      configuration: configuration, isTurnedAway: admission == .turnedAway)
    let handle = ConnectionHandle(channel: channel, watch: watch)
    try registry.keep(handle, admission)
    let pipeline = channel.pipeline.syncOperations
    try pipeline.addHandler(watch)
    guard admission == .served else { return }
    var limits = NIOHTTPDecoderLimitConfiguration()
    limits.maxHeaderFieldSize = RequestIntake.headBytesMax
    limits.maxHeaderListSize = RequestIntake.headBytesMax
    limits.maxHeaderFieldCount = RequestIntake.headFieldsMax
    try pipeline.configureHTTPServerPipeline(
      withPipeliningAssistance: false, withErrorHandling: false,
      withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
    let wrapped = try AdminConnection.Wrapped(
      wrappingChannelSynchronously: channel,
      configuration: .init(isOutboundHalfClosureEnabled: true))
    let connection = AdminConnection(
      channel: wrapped, handle: handle, responder: responder, log: log)
    state.withLock { $0.connections += 1 }
    Task(executorPreference: executor) { [self] in
      await connection.serve()
      state.withLock { $0.connections -= 1 }
    }
  }

  private static func rule(_ configuration: AdminConfiguration, hosts: [String]) -> HostRule {
    let own = configuration.endpoints.map { $0.host.contains(":") ? "[\($0.host)]" : $0.host }
    return HostRule(names: own + hosts)
  }

  private static func isLoopback(_ host: String) -> Bool {
    host == "localhost" || host == "::1" || host.hasPrefix("127.")
  }

  private static func text(of address: SocketAddress?) -> String {
    guard let address, let host = address.ipAddress, let port = address.port else { return "" }
    return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}
