import KDNCore
import KDNWire

// What the vectors say of delivery and of profiles, formed from the decoded body.

extension Adaptation {
  /// What the flag adds to a GET's fields.
  var json: [String: JSON] {
    [
      "bandwidth": .int(bytesPerSecond), "decodeRate": .int(decodeMegabytesPerSecond),
      "transformRate": .int(transformMegabytesPerSecond),
      "prefillRate": .int(prefillTokensPerSecond),
    ]
  }
}

extension CodecProfileRequest {
  /// The body's fields.
  var json: JSON {
    switch self {
    case .get(let hash): .object(["verb": .number(1), "hash": .string("\(hash)")])
    case .use(let hash): .object(["verb": .number(2), "hash": .string("\(hash)")])
    case .list(let layout): .object(["verb": .number(3), "layoutID": .string("\(layout)")])
    }
  }
}

extension CodecProfileFacts {
  fileprivate var json: [String: JSON] {
    [
      "hash": .string("\(hash)"), "layoutID": .string("\(layout)"),
      "part": KDNWireTests.json(part), "byteCount": .int(byteCount),
      "tokenCount": .int(tokenCount), "kind": .int(kind),
    ]
  }
}

extension CodecProfileResponse {
  /// The body's fields.
  var json: JSON {
    switch self {
    case .described(let answer):
      .object([
        "verb": .number(1),
        "descriptors": .array(answer.descriptors.map { KDNWireTests.json($0) }),
      ])
    case .used(let facts): .object(facts.json.merging(["verb": .number(2)]) { $1 })
    case .listed(let rows):
      .object(["verb": .number(3), "profiles": .array(rows.map { .object($0.json) })])
    }
  }
}
