internal import Hummingbird
internal import KDNControl
internal import KDNCore
internal import NIOCore
internal import NIOHTTP1

/// Decides who gets to a route's handler, and brings the request into its form.
final class Gate: Sendable {
  private let control: any DaemonControl
  private let hosts: Guarded<HostRule>
  private let pacing = Guarded(TokenPacing())
  private let clock: any MonotonicClock
  /// Whether questions need a token too.
  private let guardsReads: Bool

  /// Creates a gate that serves the Host values of `hosts`.
  init(
    control: any DaemonControl, hosts: HostRule, guardsReads: Bool,
    clock: any MonotonicClock = SystemClock()
  ) {
    self.control = control
    self.hosts = Guarded(hosts)
    self.guardsReads = guardsReads
    self.clock = clock
  }

  /// Serves other Host values from now on.
  func setHosts(_ rule: HostRule) {
    hosts.withLock { $0 = rule }
  }

  /// Refuses a request that was sent to another site than this one.
  ///
  /// - Throws: a fault with status 421.
  func checkHost(_ message: AdminMessage, on connection: ConnectionHandle) throws {
    let host = message.head.headers["host"].first ?? ""
    let rule = hosts.withLock { $0 }
    guard !rule.admits(host, reaching: connection.address) else { return }
    let text = "this Host is not served; admin_hosts can allow it"
    throw StatusFault(.misdirectedRequest, ControlFault(.badRequest, field: "host", text))
  }

  /// Answers a request to `route`.
  func answer(
    _ request: Request, _ context: AdminContext, by route: AdminRoute
  ) async throws -> Response {
    guard case .order(let name) = route.access else {
      let form = try await admit(request, context, by: route)
      return try await route.handler(form, control)
    }
    let form: AdminRequest
    do {
      form = try await admit(request, context, by: route)
    } catch {
      control.turnedAway(name, by: nil, from: context.connection.peer, Self.fault(of: error))
      throw error
    }
    do {
      // Orders may take their time, and the endpoint's own thread has none to spare.
      return try await withTaskExecutorPreference(globalConcurrentExecutor) {
        try await route.handler(form, control)
      }
    } catch let refusal as BodyRefusal {
      control.turnedAway(
        name, by: form.administrator, from: context.connection.peer, refusal.fault)
      throw refusal.fault
    }
  }

  private func admit(
    _ request: Request, _ context: AdminContext, by route: AdminRoute
  ) async throws -> AdminRequest {
    let headers = context.message.head.headers
    var administrator: AdministratorName?
    switch route.access {
    case .open: break
    case .read:
      if guardsReads { administrator = try await administratorSending(headers, context) }
    case .order:
      try checkOrder(context.message)
      administrator = try await administratorSending(headers, context)
    }
    return AdminRequest(
      query: try Query(request.uri.query, known: route.parameters), headers: headers,
      body: Array(buffer: context.message.body), connection: context.connection,
      administrator: administrator, namespaceText: context.parameters.get("name") ?? "",
      tokenID: context.parameters.get("id") ?? "")
  }

  /// Refuses orders that a page of another site may have had a browser send.
  private func checkOrder(_ message: AdminMessage) throws {
    let headers = message.head.headers
    let isForeign = HostRule.isForeign(
      origin: headers["origin"].first, fetchSite: headers["sec-fetch-site"].first,
      host: headers["host"].first ?? "")
    guard !isForeign, headers["origin"].count <= 1, headers["sec-fetch-site"].count <= 1 else {
      let text = "orders from pages of other sites are refused"
      throw ControlFault(.forbidden, field: "origin", text)
    }
    guard message.body.readableBytes > 0 else { return }
    let type = headers["content-type"].first?.lowercased().split(separator: ";").first
    guard type?.trimmed == "application/json" else {
      let fault = ControlFault(.badRequest, field: "content-type", "must be application/json")
      throw StatusFault(.unsupportedMediaType, fault)
    }
  }

  /// Who the request's token belongs to; wrong ones are answered late.
  private func administratorSending(
    _ headers: HTTPHeaders, _ context: AdminContext
  ) async throws -> AdministratorName {
    guard control.hasAdministrators else {
      throw ControlFault(.forbidden, "no admin token is configured, so nobody may")
    }
    let fields = headers["authorization"]
    guard let field = fields.first, fields.count == 1 else {
      throw ControlFault(.unauthorised, field: "authorization", "an admin token is needed")
    }
    let peer = context.connection.peer
    let scheme = "bearer "
    let isBearer = field.prefix(scheme.count).lowercased() == scheme
    let token = isBearer ? String(field.dropFirst(scheme.count)) : ""
    // First of all: whoever shares an address with a guesser must not be locked out.
    if let name = control.administrator(of: token) {
      return AdministratorName(name.text, from: peer)
    }
    if let wait = pacing.withLock({ $0.refusal(of: peer, now: clock.now()) }) {
      let text = "too many wrong tokens from this address; again in \(wait) ms"
      let fault = ControlFault(.busy, field: "authorization", text)
      throw StatusFault(.tooManyRequests, fault)
    }
    let wait = pacing.withLock { $0.noteWrongToken(from: peer, now: clock.now()) }
    try await Task.sleep(for: .milliseconds(Int64(clamping: wait)))
    throw ControlFault(.unauthorised, field: "authorization", "the token opens nothing")
  }

  private static func fault(of error: any Error) -> ControlFault {
    switch error {
    case let fault as ControlFault: fault
    case let fault as StatusFault: fault.fault
    default: ControlFault(.unavailable, "the daemon is stopping")
    }
  }
}

extension Substring {
  /// Without the blanks at both ends.
  fileprivate var trimmed: Substring {
    let front = drop { $0 == " " || $0 == "\t" }
    guard let last = front.lastIndex(where: { $0 != " " && $0 != "\t" }) else { return "" }
    return front[...last]
  }
}
