internal import Hummingbird
internal import KDNCore
internal import NIOCore
internal import NIOHTTP1

/// Writes one answer.
struct AnswerWriter {
  private static let fields: [(String, String)] = [
    (
      "Content-Security-Policy",
      """
      default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'
      """
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
  ]

  /// The request's head; nil if it could not be read.
  let head: HTTPRequestHead?
  /// Whether the connection ends with this answer.
  let isLast: Bool
  let outbound: RequestIntake.Outbound

  /// Writes an answer; only its head to a request for the head.
  ///
  /// - Throws: what the connection throws once it is gone.
  func write(_ response: Response) async throws {
    var answer = HTTPResponseHead(
      version: head?.version == .http1_0 ? .http1_0 : .http1_1,
      status: HTTPResponseStatus(statusCode: response.status.code))
    for field in response.headers {
      answer.headers.add(name: field.name.rawName, value: field.value)
    }
    for (name, value) in Self.fields { answer.headers.add(name: name, value: value) }
    if !answer.headers.contains(name: "cache-control") {
      answer.headers.add(name: "Cache-Control", value: "no-store")
    }
    answer.headers.add(name: "Date", value: HTTPDate.text(SystemWallClock().milliseconds()))
    if isLast {
      answer.headers.replaceOrAdd(name: "Connection", value: "close")
    } else if answer.version == .http1_0 {
      answer.headers.replaceOrAdd(name: "Connection", value: "keep-alive")
    }
    guard head?.method != .HEAD else {
      if response.body.contentLength == nil {
        answer.headers.replaceOrAdd(name: "Content-Length", value: "0")
      }
      return try await outbound.write(contentsOf: [.head(answer), .end(nil)])
    }
    try await outbound.write(.head(answer))
    try await response.body.write(PartWriter(outbound: outbound))
  }
}

/// Writes the parts of a body.
private struct PartWriter: ResponseBodyWriter {
  let outbound: RequestIntake.Outbound

  func write(_ buffer: ByteBuffer) async throws {
    try await outbound.write(.body(.byteBuffer(buffer)))
  }

  consuming func finish(_ trailingHeaders: HTTPFields?) async throws {
    try await outbound.write(.end(nil))
  }
}
