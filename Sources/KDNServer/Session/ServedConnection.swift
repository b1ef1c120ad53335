internal import KDNCore
internal import KDNTransport
internal import KDNWire

/// A connection of any protocol, from being accepted until it is over; lives on one loop.
protocol ServedConnection: LoopMember, SendableMetatype {
  /// Whether it is over.
  var isClosed: Bool { get }
  /// Begins to serve; `ended` is called once when it is over.
  func start(on loop: isolated Loop, ended: @escaping () -> Void)
  /// Only tells the client why it is not served; `ended` is called once when it knows.
  func refuse(
    _ status: Status, _ field: String, limit: Int, on loop: isolated Loop,
    ended: @escaping () -> Void)
  /// Goes away when what is in flight has been answered.
  func drain(on loop: isolated Loop)
  /// Sends what waits, and closes where that is due.
  func flush(on loop: isolated Loop)
}
