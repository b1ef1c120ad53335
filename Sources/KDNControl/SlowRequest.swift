/// One of the slowest requests of late, with the time spent in each stage.
package struct SlowRequest: Codable, Sendable, Equatable {
  /// As the protocol calls it.
  package var operation: String
  /// The tenant.
  package var namespace: String
  /// Number of the connection.
  package var connection: UInt64
  /// When it arrived, in milliseconds since 1970.
  package var unixMilliseconds: UInt64
  /// Items or keys.
  package var items: Int
  /// Bytes of payload asked for or brought.
  package var bytes: Int
  /// The status it ended with.
  package var status: String
  /// From its arrival until its answer was queued.
  package var totalMicroseconds: UInt64
  /// Of it, waiting for what nobody had stored yet.
  package var waitMicroseconds: UInt64
  /// Of it, waiting for the disk: reads, or durability.
  package var diskMicroseconds: UInt64

  /// Puts the values together.
  package init(
    operation: String, namespace: String, connection: UInt64, unixMilliseconds: UInt64,
    items:
      Int, bytes: Int, status: String, totalMicroseconds: UInt64, waitMicroseconds: UInt64,
    diskMicroseconds: UInt64
  ) {
    self.operation = operation
    self.namespace = namespace
    self.connection = connection
    self.unixMilliseconds = unixMilliseconds
    self.items = items
    self.bytes = bytes
    self.status = status
    self.totalMicroseconds = totalMicroseconds
    self.waitMicroseconds = waitMicroseconds
    self.diskMicroseconds = diskMicroseconds
  }
}

/// Something that an operator may want to know of; `GET /events` streams them.
package struct DaemonEvent: Codable, Sendable, Equatable {
  /// Counts up from 1 in this run.
  package var serial: UInt64
  /// When it happened, in milliseconds since 1970.
  package var unixMilliseconds: UInt64
  /// `started`, `recovered`, `reloaded`, `reload_failed`, `draining`, `purged`, `pinned`,
  /// `namespace_changed`, `log_level`, `disk_fault`, `tls_reloaded`.
  package var kind: String
  /// Who ordered it; empty if nobody did.
  package var administrator: String
  /// One sentence.
  package var text: String

  /// Puts the values together.
  package init(
    serial: UInt64, unixMilliseconds: UInt64, kind: String, administrator: String, text: String
  ) {
    self.serial = serial
    self.unixMilliseconds = unixMilliseconds
    self.kind = kind
    self.administrator = administrator
    self.text = text
  }
}
