/// One place where objects are kept.
package struct TierReport: Codable, Sendable {
  /// `ram` or `disk`.
  package var kind: String
  /// Path of a directory; empty for RAM.
  package var place: String
  /// `serving`, `recovering` or `failed`.
  package var state: String
  /// Hard cap on `usedBytes`.
  package var capacityBytes: Int
  /// What is taken of it.
  package var usedBytes: Int
  /// Objects kept there.
  package var objects: Int
  /// Bytes of the objects.
  package var bytes: Int
  /// Lookups that this kind of tier answered, the same for all of a kind.
  package var hitsTotal: UInt64
  /// Objects dropped to make room, the same for all of a kind.
  package var evictionsTotal: UInt64

  /// Puts the numbers together.
  package init(
    kind: String, place: String, state: String, capacityBytes: Int, usedBytes: Int, objects: Int,
    bytes: Int, hitsTotal: UInt64, evictionsTotal: UInt64
  ) {
    self.kind = kind
    self.place = place
    self.state = state
    self.capacityBytes = capacityBytes
    self.usedBytes = usedBytes
    self.objects = objects
    self.bytes = bytes
    self.hitsTotal = hitsTotal
    self.evictionsTotal = evictionsTotal
  }
}

/// One kind of link.
package struct LinkReport: Codable, Sendable {
  /// `tcp`, `tls`, `unix`, `shm`, `rdma` or `resp`.
  package var kind: String
  /// Where is listened.
  package var endpoints: [String]
  /// Connections now; for `shm` those of `unix` that have shared memory.
  package var open: Int
  /// Connections taken.
  package var acceptedTotal: UInt64
  /// Bytes that came in; for `shm` payload taken from clients' windows.
  package var receivedBytesTotal: UInt64
  /// Bytes that went out; for `shm` payload lent to clients in place.
  package var sentBytesTotal: UInt64
  /// Payload that the daemon's processor moved: into or out of sockets, or out of a window.
  package var copiedBytesTotal: UInt64
  /// Payload of which the daemon took a checksum.
  package var hashedBytesTotal: UInt64
  /// TLS handshakes that failed; 0 for the others.
  package var handshakeFailuresTotal: UInt64

  /// Puts the numbers together.
  package init(
    kind: String, endpoints: [String], open: Int, acceptedTotal: UInt64,
    receivedBytesTotal: UInt64, sentBytesTotal: UInt64, copiedBytesTotal: UInt64 = 0,
    hashedBytesTotal: UInt64 = 0, handshakeFailuresTotal: UInt64
  ) {
    self.kind = kind
    self.endpoints = endpoints
    self.open = open
    self.acceptedTotal = acceptedTotal
    self.receivedBytesTotal = receivedBytesTotal
    self.sentBytesTotal = sentBytesTotal
    self.copiedBytesTotal = copiedBytesTotal
    self.hashedBytesTotal = hashedBytesTotal
    self.handshakeFailuresTotal = handshakeFailuresTotal
  }
}

/// One form in which objects in RAM are kept.
package struct CodecReport: Codable, Sendable {
  /// `raw` for the layout's own bytes, `opaque` for bytes of no layout, `variant-N` for others.
  package var name: String
  /// Objects in this form.
  package var objects: Int
  /// Their bytes.
  package var bytes: Int
  /// What the same tokens take raw; equal to `bytes` for `raw` and `opaque`.
  package var rawBytes: Int

  /// Puts the numbers together.
  package init(name: String, objects: Int, bytes: Int, rawBytes: Int) {
    self.name = name
    self.objects = objects
    self.bytes = bytes
    self.rawBytes = rawBytes
  }
}
