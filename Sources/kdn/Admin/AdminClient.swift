internal import Glibc
internal import KDNControl
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// Asks the daemon's HTTP endpoint, one connection for each request.
struct AdminClient: Sendable {
  private static let connectTimeout = TimeAmount.seconds(5)
  private static let answerTimeout = TimeAmount.seconds(60)

  let host: String
  let port: Int
  let token: String

  /// Asks for the value at `path`.
  ///
  /// - Throws: `AdminError`, or a `ControlFault` that the daemon answered.
  func get<Value: Decodable>(_ path: String, as type: Value.Type) throws -> Value {
    try ControlJSON.decode(type, from: bytes(path))
  }

  /// The bytes at `path`.
  func bytes(_ path: String) throws -> [UInt8] { try ask(.GET, path, body: []) }

  /// Gives an order and returns the answer's bytes.
  func order(_ method: HTTPMethod, _ path: String, _ body: some Encodable) throws -> [UInt8] {
    try ask(method, path, body: ControlJSON.encode(body))
  }

  /// Gives an order that has no more to say.
  func order(_ method: HTTPMethod, _ path: String) throws -> [UInt8] {
    try ask(method, path, body: [])
  }

  /// Asks and returns status and body, whatever they are.
  func answer(_ method: HTTPMethod, _ path: String, body: [UInt8] = []) throws -> AdminAnswer {
    let loop = MultiThreadedEventLoopGroup.singleton.any()
    let promise = loop.makePromise(of: AdminAnswer.self)
    let connecting = ClientBootstrap(group: loop)
      .connectTimeout(Self.connectTimeout)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          try pipeline.addHTTPClientHandlers()
          try pipeline.addHandler(AnswerCollector(promise))
        }
      }
      .connect(host: host, port: port)
    do {
      let channel = try connecting.wait()
      let timeout = loop.scheduleTask(in: Self.answerTimeout) {
        promise.fail(AdminError.noAnswer)
        channel.close(promise: nil)
      }
      defer { timeout.cancel() }
      try send(method, path, body, over: channel).wait()
      let answer = try promise.futureResult.wait()
      channel.close(promise: nil)
      return answer
    } catch let error as AdminError {
      throw error
    } catch {
      promise.fail(error)
      throw AdminError.unreachable("\(host):\(port)", Self.reason(error))
    }
  }

  /// What the system said, without the words of the networking library around it.
  private static func reason(_ error: any Error) -> String {
    guard let failure = error as? NIOConnectionError else { return "\(error)" }
    if failure.dnsAError != nil { return "the name is unknown" }
    switch (failure.connectionErrors.first?.error as? IOError)?.errnoCode {
    case ECONNREFUSED: return "connection refused"
    case let code?: return "errno \(code)"
    case nil: return "no answer"
    }
  }

  private func ask(_ method: HTTPMethod, _ path: String, body: [UInt8]) throws -> [UInt8] {
    let answer = try answer(method, path, body: body)
    guard (200..<300).contains(answer.status) else {
      if let fault = try? ControlJSON.decode(ControlFault.self, from: answer.body) { throw fault }
      throw AdminError.refused(status: answer.status)
    }
    return answer.body
  }

  private func send(
    _ method: HTTPMethod, _ path: String, _ body: [UInt8], over channel: any Channel
  ) -> EventLoopFuture<Void> {
    var headers: HTTPHeaders = [
      "Host": host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)",
      "Accept": "application/json", "Connection": "close",
      "User-Agent": "kdn/\(KDNCommand.version)",
    ]
    if !token.isEmpty { headers.add(name: "Authorization", value: "Bearer \(token)") }
    if method != .GET {
      headers.add(name: "Content-Type", value: "application/json")
      headers.add(name: "Content-Length", value: "\(body.count)")
    }
    let head = HTTPRequestHead(version: .http1_1, method: method, uri: path, headers: headers)
    channel.write(HTTPClientRequestPart.head(head), promise: nil)
    if !body.isEmpty {
      let buffer = channel.allocator.buffer(bytes: body)
      channel.write(HTTPClientRequestPart.body(.byteBuffer(buffer)), promise: nil)
    }
    return channel.writeAndFlush(HTTPClientRequestPart.end(nil))
  }
}

/// What the endpoint answered.
struct AdminAnswer: Sendable {
  let status: Int
  let body: [UInt8]
}

/// Why there is no answer.
enum AdminError: Error, CustomStringConvertible {
  case unreachable(String, String)
  case noAnswer
  case tooLarge
  case refused(status: Int)

  var description: String {
    switch self {
    case .unreachable(let place, let problem):
      "no HTTP endpoint at \(place) (is kdnd running with 'admin' set?): \(problem)"
    case .noAnswer: "the HTTP endpoint does not answer"
    case .tooLarge: "the answer is larger than \(AnswerCollector.bytesMax) bytes"
    case .refused(let status): "the HTTP endpoint answered \(status)"
    }
  }
}

/// Puts an answer together.
private final class AnswerCollector: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart

  /// Longest answer that is taken.
  static let bytesMax = 64 << 20

  private let promise: EventLoopPromise<AdminAnswer>
  private var status = 0
  private var body: [UInt8] = []

  init(_ promise: EventLoopPromise<AdminAnswer>) { self.promise = promise }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): status = Int(head.status.code)
    case .body(let piece):
      guard body.count + piece.readableBytes <= Self.bytesMax else {
        promise.fail(AdminError.tooLarge)
        return context.close(promise: nil)
      }
      body.append(contentsOf: piece.readableBytesView)
    case .end: promise.succeed(AdminAnswer(status: status, body: body))
    }
  }

  func channelInactive(context: ChannelHandlerContext) { promise.fail(AdminError.noAnswer) }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    promise.fail(error)
    context.close(promise: nil)
  }
}
