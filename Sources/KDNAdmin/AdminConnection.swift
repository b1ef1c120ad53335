internal import Hummingbird
internal import KDNControl
internal import Logging
internal import NIOCore
internal import NIOHTTP1

/// Answers the requests of one connection, in their order and one at a time.
struct AdminConnection: Sendable {
  typealias Wrapped = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

  let channel: Wrapped
  let handle: ConnectionHandle
  let responder: RouterResponder<AdminContext>
  let log: Logger

  /// Serves until the connection ends.
  func serve() async {
    do {
      try await channel.executeThenClose { inbound, outbound in
        try await serve(RequestIntake(inbound, outbound: outbound), on: outbound)
      }
    } catch {
      log.trace("admin connection ended", metadata: ["error": "\(error)"])
    }
  }

  private func serve(_ first: RequestIntake, on outbound: RequestIntake.Outbound) async throws {
    var intake = first
    var isLast = false
    while !isLast {
      do {
        guard let message = try await intake.next() else { return }
        handle.requestCompleted()
        isLast = try await answer(message, on: outbound)
      } catch let fault as IntakeFault {
        handle.requestCompleted()
        let status = HTTPResponse.Status(code: Int(fault.status.code))
        let writer = AnswerWriter(head: nil, isLast: true, outbound: outbound)
        try await writer.write(.fault(fault.fault, status: status))
        isLast = true
      }
      if !isLast { handle.answered() }
    }
    handle.linger()
    try await channel.channel.closeFuture.get()
  }

  /// Returns whether it was the last answer on this connection.
  private func answer(
    _ message: AdminMessage, on outbound: RequestIntake.Outbound
  ) async throws -> Bool {
    let head = message.head
    // After a request to upgrade, what reads the requests reads no more.
    let isUpgrade = head.headers.contains(name: "upgrade") || head.method == .CONNECT
    let isLast = !head.isKeepAlive || isUpgrade
    let source = AdminSource(logger: log, message: message, connection: handle)
    let method = head.method == .HEAD ? "GET" : head.method.rawValue
    let writer = AnswerWriter(head: head, isLast: isLast, outbound: outbound)
    guard let method = HTTPRequest.Method(method) else {
      try await writer.write(.fault(ControlFault(.badRequest, field: "method", "no such method")))
      return isLast
    }
    let request = Request(
      head: HTTPRequest(
        method: method, scheme: "http", authority: head.headers["host"].first, path: head.uri),
      body: RequestBody(buffer: message.body))
    let response = try await responder.respond(to: request, context: AdminContext(source: source))
    try await writer.write(response)
    return isLast
  }
}
