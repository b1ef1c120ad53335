internal import Hummingbird
internal import KDNControl

/// All that the endpoint answers.
struct Routes: Sendable {
  let history: History
  /// When the process started, in seconds since 1970.
  let startedSeconds: Double
  let streamSlots = StreamSlots()

  /// Every route, the dashboard's files included.
  var all: [AdminRoute] {
    questions + documents + orders + recodeOrders + namespaceOrders + files
  }

  /// The router over all routes; each is answered through `gate`.
  func router(gate: Gate) -> Router<AdminContext> {
    let router = Router(context: AdminContext.self)
    let routes = all
    router.add(middleware: FaultMiddleware(gate: gate, routes: routes))
    for route in routes {
      router.on(RouterPath(route.path), method: route.method) { request, context in
        try await gate.answer(request, context, by: route)
      }
    }
    return router
  }

  private var files: [AdminRoute] {
    DashboardFiles.paths.map { path in
      .get(path, access: .open) { request, _ in
        guard let file = DashboardFiles.file(at: path) else {
          throw ControlFault(.notFound, field: "path", "no such path")
        }
        return file.response(unless: request.headers["if-none-match"])
      }
    }
  }
}

extension DashboardFile {
  /// The file; 304 without it if its tag is among `tags`.
  fileprivate func response(unless tags: [String]) -> Response {
    let known = tags.flatMap { $0.split(separator: ",") }.contains { tag in
      tag.drop { $0 == " " }.replacing("W/", with: "", maxReplacements: 1) == etag || tag == "*"
    }
    var response =
      known ? Response(status: .notModified) : Response.text(bytes, type: contentType)
    if known { response.headers[.contentLength] = nil }
    response.headers[.eTag] = etag
    response.headers[.cacheControl] = "no-cache"
    if let contentEncoding, !known { response.headers[.contentEncoding] = contentEncoding }
    return response
  }
}
