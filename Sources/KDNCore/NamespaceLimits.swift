/// Hard limits of one tenant; nil where there is none.
package struct NamespaceLimits: Hashable, Codable, Sendable {
  /// Bytes of objects in RAM, reservations included.
  package var ramBytesMax: Int?
  /// Bytes of objects in the disk tier.
  package var diskBytesMax: Int?
  /// Bytes of objects pinned, in each tier.
  package var pinnedBytesMax: Int?
  /// Connections at once.
  package var connectionsMax: Int?
  /// Requests a second, on average; a second's worth may come at once.
  package var requestsPerSecond: Int?
  /// Payload bytes a second in both directions, on average; a second's worth may come at once.
  package var bytesPerSecond: Int?

  /// No limits.
  package static let none = NamespaceLimits()

  /// Creates limits.
  package init(
    ramBytesMax: Int? = nil, diskBytesMax: Int? = nil, pinnedBytesMax: Int? = nil,
    connectionsMax: Int? = nil, requestsPerSecond: Int? = nil, bytesPerSecond: Int? = nil
  ) {
    self.ramBytesMax = ramBytesMax
    self.diskBytesMax = diskBytesMax
    self.pinnedBytesMax = pinnedBytesMax
    self.connectionsMax = connectionsMax
    self.requestsPerSecond = requestsPerSecond
    self.bytesPerSecond = bytesPerSecond
  }
}
