import KDNCore
import KDNWire

// What the vectors say of places and tickets, formed from the decoded body.

private func json(_ region: RemoteRegion) -> JSON {
  .array([.int(region.address), .int(region.key), .int(region.byteCount)])
}

extension GetPlace {
  /// What the place adds to a GET's fields.
  var json: [String: JSON] {
    switch self {
    case .inline: [:]
    case .sharedMemory(let leaseMilliseconds): ["leaseMillis": .int(leaseMilliseconds)]
    case .remote(let regions): ["regions": .array(regions.map { KDNWireTests.json($0) })]
    }
  }
}

extension PutSource {
  /// What the source adds to a PUT_DATA's fields.
  var json: [String: JSON] {
    switch self {
    case .inline: [:]
    case .window(let offset, let byteCount):
      ["windowOffset": .int(offset), "byteCount": .int(byteCount)]
    case .remote(let region): ["region": KDNWireTests.json(region)]
    }
  }
}

extension InPlaceAnswer {
  /// What shared memory adds to a GET's answer.
  var json: [String: JSON] {
    [
      "leaseID": .int(leaseID), "leaseMillis": .int(leaseMilliseconds),
      "hits": .array(
        hits.map { hit in
          .object([
            "slabID": .int(hit.slabID),
            "extents": .array(hit.extents.map { .array([.int($0.lowerBound), .int($0.count)]) }),
          ])
        }),
    ]
  }
}

extension LinkTicketResponse {
  /// The body's fields.
  var json: JSON {
    .object([
      "ticket": .string(ticket.text), "ticketMillis": .int(ticketMilliseconds),
      "hostID": .string(hexadecimal(hostID)),
      "offers": .array(
        offers.map {
          .object(["kind": .int($0.kind.rawValue), "address": .string($0.address)])
        }),
    ])
  }
}
