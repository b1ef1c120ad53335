internal import NIOCore

/// What the parts of a request may know of and do to its connection, from any thread.
struct ConnectionHandle: Sendable {
  let channel: any Channel
  private let watch: NIOLoopBound<ConnectionWatch>

  /// Wraps a connection with its watch; call it on the connection's event loop.
  init(channel: any Channel, watch: ConnectionWatch) {
    self.channel = channel
    self.watch = NIOLoopBound(watch, eventLoop: channel.eventLoop)
  }

  /// Address of the peer, without a port.
  var peer: String { channel.remoteAddress?.ipAddress ?? "" }

  /// Address that the peer reached, without a port.
  var address: String? { channel.localAddress?.ipAddress }

  /// A request is here with all of its body.
  func requestCompleted() { onLoop { $0.requestCompleted() } }

  /// The answer to it is one without an end.
  func streamBegan() { onLoop { $0.streamBegan() } }

  /// The answer has been handed over.
  func answered() { onLoop { $0.answered() } }

  /// No answer will follow.
  func linger() { onLoop { $0.linger() } }

  /// Ends the connection as soon as it has answered.
  func quiesce() { onLoop { $0.quiesce() } }

  /// Ends the connection.
  func close() { channel.close(promise: nil) }

  private func onLoop(_ body: @escaping @Sendable (ConnectionWatch) -> Void) {
    channel.eventLoop.execute { body(watch.value) }
  }
}
