package import KDNCore

/// A secret that stands once, and not for long, for the pass of the connection that asked for it.
package struct LinkTicket: Hashable, Sendable {
  /// 32 random bytes.
  package let bytes: [UInt8]

  /// Bytes of a ticket.
  package static let byteCount = 32

  /// Takes over 32 bytes; nil if there are more or fewer.
  package init?(_ bytes: [UInt8]) {
    guard bytes.count == Self.byteCount else { return nil }
    self.bytes = bytes
  }

  /// Reads what `text` gives; nil for anything but 64 lower-case hex digits.
  package init?(text: String) {
    let digits = Array(text.utf8)
    guard digits.count == 2 * Self.byteCount else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.byteCount)
    for index in 0..<Self.byteCount {
      guard let high = Self.value(digits[2 * index]), let low = Self.value(digits[2 * index + 1])
      else { return nil }
      bytes.append(high << 4 | low)
    }
    self.bytes = bytes
  }

  /// 64 lower-case hex digits, as HELLO's token holds them.
  package var text: String {
    var text = ""
    for byte in bytes {
      for digit in [byte >> 4, byte & 15] { text += String(digit, radix: 16) }
    }
    return text
  }

  private static func value(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    default: nil
    }
  }
}

/// A place where the server can be reached.
package struct LinkOffer: Hashable, Sendable {
  /// What kind of link leads there; exactly one, which may be unknown to this build.
  package let kind: LinkKinds
  /// The path of a Unix socket, else `HOST:PORT`.
  package let address: String

  /// Longest address, in bytes.
  package static let addressBytesMax = 512
  fileprivate static let leastByteCount = 6

  /// Offers a link; the address is cut to its limit.
  package init(kind: LinkKinds, address: String) {
    self.kind = kind
    self.address = address
  }

  /// Takes an offer; throws a fault that names `kind`, `address` or `bodyLength`.
  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 4)
    kind = LinkKinds(rawValue: try reader.take("kind"))
    guard kind.rawValue.nonzeroBitCount == 1 else {
      throw FieldFault("kind", value: UInt64(kind.rawValue), limit: 1, "an offer has one kind")
    }
    address = try reader.takeText("address", least: 1, limit: Self.addressBytesMax)
  }

  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(kind.rawValue)
    writer.put(address, limit: Self.addressBytesMax)
  }
}

/// LINK_TICKET: a ticket, and the links on which it may be used.
package struct LinkTicketRequest: FrameBody {
  /// Creates the body.
  package init() {}

  /// Decodes a whole body; throws a fault that names `bodyLength`, `flags` or `reserved`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 8)
    try reader.takeZero(UInt32.self, "flags")
    try reader.takeZero(UInt32.self)
  }

  package func write(to writer: inout ByteWriter) { writer.putZeros(8) }
}

/// The answer to LINK_TICKET.
package struct LinkTicketResponse: FrameBody {
  /// For HELLO with the flag TICKET, once.
  package let ticket: LinkTicket
  /// How long it can be used, in milliseconds.
  package let ticketMilliseconds: UInt32
  /// 16 bytes that are the same for all processes of one host between two of its starts.
  package let hostID: [UInt8]
  /// Links, best first.
  package let offers: [LinkOffer]

  /// Bytes of a host id.
  package static let hostIDByteCount = 16
  /// Most links in an answer.
  package static let offersMax = 64
  private static let fixedByteCount = 56

  /// Creates the answer; `hostID` must have 16 bytes, and there may be 64 offers.
  package init(
    ticket: LinkTicket, ticketMilliseconds: UInt32, hostID: [UInt8], offers: [LinkOffer]
  ) {
    precondition(hostID.count == Self.hostIDByteCount, "a host id has 16 bytes")
    precondition(offers.count <= Self.offersMax, "an answer has 64 offers at most")
    self.ticket = ticket
    self.ticketMilliseconds = ticketMilliseconds
    self.hostID = hostID
    self.offers = offers
  }

  /// Decodes a whole body.
  ///
  /// - Throws: a fault that names `bodyLength`, `ticketMillis`, `offerCount`, `kind` or `address`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: Self.fixedByteCount)
    let bytes = Array(try reader.takeBytes("ticket", count: LinkTicket.byteCount))
    guard let ticket = LinkTicket(bytes) else {
      preconditionFailure("as many bytes were taken as a ticket has")
    }
    self.ticket = ticket
    ticketMilliseconds = UInt32(try reader.takeCount("ticketMillis", least: 1, limit: .max))
    let count = try reader.takeCount("offerCount", limit: Self.offersMax)
    hostID = Array(try reader.takeBytes("hostID", count: Self.hostIDByteCount))
    try reader.require(atLeast: count * LinkOffer.leastByteCount)
    var offers: [LinkOffer] = []
    offers.reserveCapacity(count)
    for _ in 0..<count { offers.append(try LinkOffer(from: &reader)) }
    self.offers = offers
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(contentsOf: ticket.bytes)
    writer.put(ticketMilliseconds)
    writer.put(UInt32(offers.count))
    writer.put(contentsOf: hostID)
    for offer in offers { offer.write(to: &writer) }
  }
}
