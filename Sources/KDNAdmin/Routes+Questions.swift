internal import Hummingbird
internal import KDNControl
internal import KDNCore

extension Routes {
  /// Everything that only reads.
  var questions: [AdminRoute] {
    [
      .get("/healthz", access: .open) { _, _ in .json(Health(status: "ok")) },
      .get("/readyz", access: .open, parameters: ["verbose"]) { request, control in
        let report = control.readiness()
        let status: HTTPResponse.Status = report.isReady ? .ok : .serviceUnavailable
        guard try request.query.flag("verbose") else {
          return .json(Readiness(isReady: report.isReady), status: status)
        }
        return .json(report, status: status)
      },
      .get("/version", access: .open) { _, _ in
        .json(
          VersionAnswer(name: "kdnd", version: Version.text, schema: DaemonReport.schemaNow))
      },
      metrics,
      .get("/stats") { _, control in .json(control.report()) },
      .get("/namespaces") { _, control in .json(NamespaceList(namespaces: control.namespaces())) },
      .get("/slowlog") { _, control in .json(SlowList(requests: control.slowRequests())) },
      .get("/config") { _, control in .json(control.configuration()) },
      .get("/openapi.json") { _, _ in
        .text(PackageResources.openapi_json, type: "application/json")
      },
      .get("/objects", parameters: ["namespace", "cursor", "limit"], handler: Self.objects),
      historySamples,
      events,
    ]
  }

  private var metrics: AdminRoute {
    let startedSeconds = startedSeconds
    return .get("/metrics") { _, control in
      let facts = MetricsFacts(
        report: control.report(), readiness: control.readiness(),
        connectionsMax: control.configuration().number(of: "max_connections"),
        startedSeconds: startedSeconds)
      return .text(Array(facts.text.utf8), type: MetricsFacts.contentType)
    }
  }

  private var historySamples: AdminRoute {
    let history = history
    return .get("/history", parameters: ["since"]) { request, _ in
      let since = try request.query.number("since", in: 0...UInt64.max) ?? 0
      return .json(history.columns(since: since))
    }
  }

  private var events: AdminRoute {
    let slots = streamSlots
    return .get("/events", parameters: ["after"]) { request, control in
      let range = 0...UInt64.max
      var after = try request.query.number("after", in: range)
      if after == nil, let text = request.headers["last-event-id"].first {
        after = UInt64(text)
      }
      guard let slot = slots.take() else {
        throw ControlFault(.busy, "at most \(StreamSlots.countMax) streams of events at once")
      }
      let stream = EventStream(
        control: control, connection: request.connection, slot: slot, after: after ?? 0)
      return Response(
        status: .ok, headers: [.contentType: "text/event-stream"],
        body: ResponseBody { writer in try await stream.run(&writer) })
    }
  }

  private static let objects: AdminRoute.Handler = { request, control in
    guard let text = request.query.text("namespace") else {
      throw ControlFault(.badRequest, field: "namespace", "is needed")
    }
    let limit = try request.query.number("limit", in: 1...ObjectQuery.limitMax) ?? 100
    let query = ObjectQuery(
      namespace: try checkedNamespace(text), cursor: request.query.text("cursor"), limit: limit)
    return .json(try control.objects(query))
  }
}

private struct Health: Encodable {
  let status: String
}

private struct Readiness: Encodable {
  let isReady: Bool
}

private struct VersionAnswer: Encodable {
  let name: String
  let version: String
  let schema: Int
}

private struct NamespaceList: Encodable {
  let namespaces: [NamespaceDetail]
}

private struct SlowList: Encodable {
  let requests: [SlowRequest]
}

extension ConfigurationReport {
  /// The value of a key that holds one number.
  fileprivate func number(of key: String) -> Int? {
    entries.first { $0.key == key }?.values.first.flatMap { Int($0) }
  }
}
