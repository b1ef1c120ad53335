internal import Hummingbird
internal import KDNControl
internal import KDNCore
internal import Logging
internal import NIOCore
internal import NIOHTTP1

/// What a request brings along on its way through the router.
struct AdminSource: RequestContextSource {
  let logger: Logger
  let message: AdminMessage
  let connection: ConnectionHandle
}

/// A request on its way through the router.
struct AdminContext: RequestContext {
  typealias Source = AdminSource

  var coreContext: CoreRequestContextStorage
  let message: AdminMessage
  let connection: ConnectionHandle

  init(source: AdminSource) {
    coreContext = CoreRequestContextStorage(source: source)
    message = source.message
    connection = source.connection
  }
}

/// What a handler of a route gets to see.
struct AdminRequest: Sendable {
  let query: Query
  let headers: HTTPHeaders
  let body: [UInt8]
  let connection: ConnectionHandle
  /// Who asks; nil where the route asks for no token.
  let administrator: AdministratorName?
  let namespaceText: String
  let tokenID: String

  /// The namespace that the path names.
  ///
  /// - Throws: a refusal for what is no name.
  func namespace() throws(BodyRefusal) -> String {
    try checkNamespace(namespaceText)
    return namespaceText
  }
}

/// A name as it was given, if it is one.
///
/// - Throws: `bad_request` for what is no name.
func checkedNamespace(_ text: String) throws(ControlFault) -> String {
  do {
    return try NamespaceName(text).text
  } catch {
    throw ControlFault(error)
  }
}
