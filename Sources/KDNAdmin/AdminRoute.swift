internal import Hummingbird
internal import KDNControl

/// One thing that can be asked for: method, path, who may, and how it is answered.
struct AdminRoute: Sendable {
  /// Who may ask.
  enum Access: Sendable {
    /// Anybody.
    case open
    /// Anybody on a loopback binding, else administrators.
    case read
    /// Administrators; the audit log hears of every refusal under this name.
    case order(String)
  }

  typealias Handler = @Sendable (AdminRequest, any DaemonControl) async throws -> Response

  let method: HTTPRequest.Method
  /// With parameters in braces, as in the document at `/openapi.json`.
  let path: String
  let access: Access
  /// Names of the query parameters; any other is refused.
  let parameters: [String]
  let handler: Handler

  /// A question.
  static func get(
    _ path: String, access: Access = .read, parameters: [String] = [], handler: @escaping Handler
  ) -> AdminRoute {
    AdminRoute(
      method: .get, path: path, access: access, parameters: parameters, handler: handler)
  }

  /// An order, which the audit log calls `name`.
  static func order(
    _ name: String, _ method: HTTPRequest.Method, _ path: String, parameters: [String] = [],
    handler: @escaping Handler
  ) -> AdminRoute {
    AdminRoute(
      method: method, path: path, access: .order(name), parameters: parameters, handler: handler)
  }

  /// Whether a path of a request is one of this route's.
  func matches(_ target: Substring) -> Bool {
    let mine = path.split(separator: "/")
    let its = target.split(separator: "/")
    guard mine.count == its.count else { return false }
    return zip(mine, its).allSatisfy { $0 == $1 || $0.hasPrefix("{") }
  }
}
