internal import Hummingbird
internal import KDNControl
internal import Logging

/// Checks what holds for all paths, and turns every fault into an answer.
struct FaultMiddleware: RouterMiddleware {
  typealias Context = AdminContext

  let gate: Gate
  let routes: [AdminRoute]

  func handle(
    _ request: Request, context: AdminContext,
    next: (Request, AdminContext) async throws -> Response
  ) async -> Response {
    do {
      try gate.checkHost(context.message, on: context.connection)
      return try await next(request, context)
    } catch let fault as ControlFault {
      return .fault(fault)
    } catch let fault as StatusFault {
      return .fault(fault.fault, status: fault.status)
    } catch let error as HTTPError where error.status == .notFound {
      return nowhere(request, method: context.message.head.method.rawValue)
    } catch is CancellationError {
      return .fault(ControlFault(.unavailable, "the daemon is stopping"))
    } catch {
      context.logger.error("admin request failed", metadata: ["error": "\(error)"])
      let fault = ControlFault(.unavailable, "the request could not be answered")
      return .fault(fault, status: .internalServerError)
    }
  }

  /// 405 for a path that is there for other methods, else 404.
  private func nowhere(_ request: Request, method: String) -> Response {
    let path = request.uri.path[...]
    var allowed = routes.filter { $0.matches(path) }.map(\.method.rawValue)
    guard !allowed.isEmpty else {
      return .fault(ControlFault(.notFound, field: "path", "no such path"))
    }
    if allowed.contains("GET") { allowed.append("HEAD") }
    let list = allowed.sorted().joined(separator: ", ")
    let fault = ControlFault(.badRequest, field: "method", "\(method) is not one of \(list)")
    var response = Response.fault(fault, status: .methodNotAllowed)
    response.headers[.allow] = list
    return response
  }
}
