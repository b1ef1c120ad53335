internal import KDNCore
internal import NIOCore

/// Stands nearest to the socket of one connection and ends it when its time is up.
///
/// Lives on its connection's event loop.
final class ConnectionWatch: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private static let lateAnswer = plainAnswer(
    "408 Request Timeout", code: "bad_request", "the request was not complete in time")
  private static let crowdedAnswer = plainAnswer(
    "503 Service Unavailable", code: "busy", "too many connections")

  private let clock = SystemClock()
  private var times: ConnectionClock
  private var isQuiescing = false
  private let isTurnedAway: Bool
  private var context: ChannelHandlerContext?
  private var timer: Scheduled<Void>?
  private var timerInstant: Instant?

  /// Watches a connection; one that is turned away only hears that there are too many.
  init(configuration: AdminConfiguration, isTurnedAway: Bool) {
    times = ConnectionClock(
      idleMilliseconds: UInt64(clamping: configuration.idleTimeoutMilliseconds),
      requestMilliseconds: UInt64(clamping: configuration.requestTimeoutMilliseconds),
      now: clock.now())
    self.isTurnedAway = isTurnedAway
  }

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    if context.channel.isActive { begin(context) }
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    timer?.cancel()
    timer = nil
    self.context = nil
  }

  func channelActive(context: ChannelHandlerContext) {
    begin(context)
    context.fireChannelActive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isTurnedAway, times.phase != .lingering else { return }
    times.bytesArrived(now: clock.now())
    setTimer(context)
    context.fireChannelRead(data)
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    times.writabilityChanged(isWritable: context.channel.isWritable, now: clock.now())
    setTimer(context)
    context.fireChannelWritabilityChanged()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .inputClosed = event as? ChannelEvent, [.streaming, .lingering].contains(times.phase) {
      return context.close(promise: nil)
    }
    context.fireUserInboundEventTriggered(event)
  }

  /// A request is here with all of its body.
  func requestCompleted() {
    times.requestCompleted()
    reset()
  }

  /// The answer to it is one without an end.
  func streamBegan() {
    times.streamBegan()
    reset()
  }

  /// The answer has been handed over.
  func answered() {
    times.answered(now: clock.now())
    if isQuiescing, times.phase == .idle { linger() }
    reset()
  }

  /// Sends what was handed over, then waits a moment for the peer to hang up: a reset would take
  /// the last answer with it.
  func linger() {
    guard times.phase != .lingering else { return }
    times.lingerBegan(now: clock.now())
    context?.close(mode: .output, promise: nil)
    reset()
  }

  /// Ends the connection as soon as it has answered; one that streams, at once.
  func quiesce() {
    isQuiescing = true
    switch times.phase {
    case .idle, .streaming, .lingering: context?.close(promise: nil)
    case .receiving, .answering: break
    }
  }

  private func begin(_ context: ChannelHandlerContext) {
    guard isTurnedAway else { return setTimer(context) }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: Self.crowdedAnswer)), promise: nil)
    linger()
  }

  private func reset() {
    guard let context else { return }
    setTimer(context)
  }

  /// Sees to it that a timer runs no later than the deadline; one that runs earlier looks again.
  private func setTimer(_ context: ChannelHandlerContext) {
    guard let deadline = times.deadline else { return }
    if let timerInstant, timerInstant <= deadline { return }
    timer?.cancel()
    timerInstant = deadline
    let milliseconds = Int64(clamping: clock.now().milliseconds(until: deadline))
    let watch = NIOLoopBound(self, eventLoop: context.eventLoop)
    timer = context.eventLoop.scheduleTask(in: .milliseconds(milliseconds)) {
      watch.value.timerFired()
    }
  }

  private func timerFired() {
    timer = nil
    timerInstant = nil
    guard let context, let deadline = times.deadline else { return }
    guard deadline <= clock.now() else { return setTimer(context) }
    guard times.phase == .receiving, times.stallDeadline == nil else {
      return context.close(promise: nil)
    }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: Self.lateAnswer)), promise: nil)
    linger()
  }

  private static func plainAnswer(_ status: String, code: String, _ message: String) -> String {
    let body = #"{"code":"\#(code)","field":"","message":"\#(message)"}"#
    return """
      HTTP/1.1 \(status)\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\
      Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)
      """
  }
}
