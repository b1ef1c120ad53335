internal import KDNControl
internal import NIOCore
internal import NIOHTTP1

/// A whole request as it came in.
struct AdminMessage: Sendable {
  let head: HTTPRequestHead
  let body: ByteBuffer
}

/// A request that is answered without looking at it any further; the connection ends then.
struct IntakeFault: Error, Sendable {
  let status: HTTPResponseStatus
  let fault: ControlFault

  /// Refuses with a `bad_request`.
  init(_ status: HTTPResponseStatus, field: String = "", _ message: String) {
    self.status = status
    fault = ControlFault(.badRequest, field: field, message)
  }
}

/// Takes whole requests from a connection, one after the other.
struct RequestIntake {
  typealias Inbound = NIOAsyncChannelInboundStream<HTTPServerRequestPart>
  typealias Outbound = NIOAsyncChannelOutboundWriter<HTTPServerResponsePart>

  /// Most bytes of request line and header fields, and of one of them.
  static let headBytesMax = 8192
  /// Most header fields.
  static let headFieldsMax = 64
  /// Most bytes of a body.
  static let bodyBytesMax = 1 << 20

  private var inbound: Inbound.AsyncIterator
  private let outbound: Outbound

  /// Takes requests from `inbound`; tells who asks for it on `outbound` to go on.
  init(_ inbound: Inbound, outbound: Outbound) {
    self.inbound = inbound.makeAsyncIterator()
    self.outbound = outbound
  }

  /// The next request; nil once the peer sends no more.
  ///
  /// - Throws: a fault for what is malformed or too large.
  mutating func next() async throws(IntakeFault) -> AdminMessage? {
    guard let part = try await nextPart() else { return nil }
    guard case .head(let head) = part else {
      throw IntakeFault(.badRequest, "a request begins with its request line")
    }
    try Self.check(head)
    if head.headers["expect"].first?.lowercased() == "100-continue" {
      let goOn = HTTPResponseHead(version: head.version, status: .continue)
      guard (try? await outbound.write(.head(goOn))) != nil else { return nil }
    }
    guard let body = try await body() else { return nil }
    return AdminMessage(head: head, body: body)
  }

  /// Refuses what no honest client sends.
  static func check(_ head: HTTPRequestHead) throws(IntakeFault) {
    guard head.uri.hasPrefix("/") else {
      throw IntakeFault(.badRequest, field: "target", "the request target must be a path")
    }
    let hosts = head.headers["host"]
    guard hosts.count == 1, HostRule.name(of: hosts[0]) != nil else {
      throw IntakeFault(.badRequest, field: "host", "exactly one well-formed Host is needed")
    }
    guard head.headers["content-length"].count <= 1 else {
      throw IntakeFault(.badRequest, field: "content-length", "more than one Content-Length")
    }
    let codings = head.headers["transfer-encoding"]
    guard codings.isEmpty || (codings.count == 1 && codings[0].lowercased() == "chunked") else {
      throw IntakeFault(.notImplemented, field: "transfer-encoding", "only chunked is known")
    }
    guard codings.isEmpty || head.headers["content-length"].isEmpty else {
      throw IntakeFault(
        .badRequest, field: "content-length", "Content-Length beside Transfer-Encoding")
    }
    let length = head.headers["content-length"].first.flatMap { Int($0) } ?? 0
    guard length <= bodyBytesMax else { throw tooLarge }
  }

  private mutating func body() async throws(IntakeFault) -> ByteBuffer? {
    var body = ByteBuffer()
    while let part = try await nextPart() {
      switch part {
      case .head: throw IntakeFault(.badRequest, "a request before the end of another")
      case .end: return body
      case .body(var chunk):
        guard body.readableBytes + chunk.readableBytes <= Self.bodyBytesMax else {
          throw Self.tooLarge
        }
        body.writeBuffer(&chunk)
      }
    }
    return nil
  }

  private mutating func nextPart() async throws(IntakeFault) -> HTTPServerRequestPart? {
    do {
      return try await inbound.next()
    } catch HTTPParserError.headerOverflow {
      throw IntakeFault(
        .requestHeaderFieldsTooLarge, field: "head",
        "at most \(Self.headBytesMax) bytes and \(Self.headFieldsMax) fields")
    } catch HTTPParserError.invalidEOFState {
      return nil
    } catch is HTTPParserError {
      throw IntakeFault(.badRequest, "not HTTP/1.1")
    } catch {
      return nil
    }
  }

  private static var tooLarge: IntakeFault {
    IntakeFault(.payloadTooLarge, field: "body", "a body has at most \(bodyBytesMax) bytes")
  }
}
