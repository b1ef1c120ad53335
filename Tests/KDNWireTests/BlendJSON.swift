import KDNCore
import KDNWire

// What the vectors say of blending, formed from the decoded body.

private func json(_ spans: TokenSpans) -> JSON {
  .array(spans.ranges.map { .array([.int($0.lowerBound), .int($0.upperBound)]) })
}

extension ComposeRequest {
  /// The body's fields.
  var json: JSON {
    .object([
      "layoutID": .string("\(layout)"), "flags": .int(flags.rawValue),
      "firstPosition": .int(firstPosition), "recomputePermille": .int(recomputePermille),
      "forbidden": .array(forbidden.map { .string($0) }),
      "settling": .string(settling.map { "\($0)" } ?? ""),
      "pieces": .array(
        pieces.map {
          .object(["name": .string($0.name), "epoch": .int($0.epoch), "slot": .int($0.slot)])
        }),
    ])
  }
}

extension ComposeResponse {
  /// The body's fields.
  var json: JSON {
    .object([
      "hash": .string("\(hash)"), "rowCount": .int(rowCount), "endPosition": .int(endPosition),
      "byteCount": .int(byteCount), "recomputeTokens": .int(recomputeTokens),
      "pieces": .array(
        pieces.map {
          .object([
            "epoch": .int($0.epoch), "tokenCount": .int($0.tokenCount),
            "firstPosition": .int($0.firstPosition), "firstRow": .int($0.firstRow),
            "dropped": KDNWireTests.json($0.dropped),
            "recompute": KDNWireTests.json($0.recompute),
          ])
        }),
    ])
  }
}

extension EditOperation {
  fileprivate var json: [String: JSON] {
    switch self {
    case .scaleKeys(let strength, let spans): Self.json(1, strength: strength, spans)
    case .scaleValues(let strength, let spans): Self.json(2, strength: strength, spans)
    case .drop(let spans): Self.json(3, spans)
    case .keep(let permille, let scores): Self.json(4, .none, permille: permille, scores)
    case .requantise(let codec):
      Self.json(5, .none).merging(["class": .int(codec.rawValue)]) { $1 }
    }
  }

  private static func json(
    _ kind: UInt64, strength: Float = 0, _ spans: TokenSpans, permille: Int = 0,
    _ scores: [Float] = []
  ) -> [String: JSON] {
    [
      "kind": .number(kind), "strength": .int(strength.bitPattern), "permille": .int(permille),
      "spans": KDNWireTests.json(spans),
      "scores": .array(scores.map { .int($0.bitPattern) }),
    ]
  }
}

extension EditRequest {
  /// The body's fields.
  var json: JSON {
    switch self {
    case .add(let name, let epoch, let operation):
      .object(
        ["verb": .number(1), "name": .string(name), "epoch": .int(epoch)]
          .merging(operation.json) { $1 })
    case .list(let name): .object(["verb": .number(2), "name": .string(name)])
    case .revert(let name, let id):
      .object(["verb": .number(3), "name": .string(name), "id": .int(id)])
    case .materialise(let name, let isOrder):
      .object(["verb": .number(4), "name": .string(name), "order": .int(isOrder ? 1 : 0)])
    }
  }
}

extension EditResponse {
  /// The body's fields.
  var json: JSON {
    switch self {
    case .added(let id): .object(["verb": .number(1), "id": .int(id)])
    case .listed(let rows):
      .object([
        "verb": .number(2),
        "edits": .array(
          rows.map { .object(["id": .int($0.id)].merging($0.operation.json) { $1 }) }),
      ])
    case .reverted(let count): .object(["verb": .number(3), "count": .int(count)])
    case .materialised(let material):
      .object([
        "verb": .number(4), "state": .int(material.state.rawValue), "total": .int(material.total),
        "kept": .int(material.kept),
      ])
    }
  }
}

extension WorkRequest.Holding {
  fileprivate func json(_ verb: UInt64, _ others: [String: JSON]) -> JSON {
    .object(
      ["verb": .number(verb), "id": .int(id), "attempt": .int(attempt)].merging(others) { $1 })
  }
}

extension WorkRequest {
  /// The body's fields.
  var json: JSON {
    switch self {
    case .submit(let kind, let payload, let deadlineMilliseconds, let attempts):
      .object([
        "verb": .number(1), "kind": .string(kind), "payload": .string(hexadecimal(payload)),
        "deadlineMillis": .int(deadlineMilliseconds), "attempts": .int(attempts),
      ])
    case .take(let kinds, let waitMilliseconds, let leaseMilliseconds):
      .object([
        "verb": .number(2), "kinds": .array(kinds.map { .string($0) }),
        "waitMillis": .int(waitMilliseconds), "leaseMillis": .int(leaseMilliseconds),
      ])
    case .renew(let holding, let progress): holding.json(3, ["progress": .int(progress)])
    case .finish(let holding, let result):
      holding.json(4, ["result": .string(hexadecimal(result))])
    case .fail(let holding, let reason, let again):
      holding.json(5, ["again": .number(again ? 1 : 0), "reason": .string(reason)])
    case .status(let id): .object(["verb": .number(6), "id": .int(id)])
    case .cancel(let id): .object(["verb": .number(7), "id": .int(id)])
    case .list(let after, let limit):
      .object(["verb": .number(8), "after": .int(after), "limit": .int(limit)])
    }
  }
}

extension JobFacts {
  fileprivate var json: [String: JSON] {
    [
      "id": .int(id), "kind": .string(kind), "state": .int(state.rawValue),
      "attempts": .int(attempts), "progress": .int(progress),
    ]
  }
}

extension WorkResponse {
  /// The body's fields.
  var json: JSON {
    switch self {
    case .submitted(let id): .object(["verb": .number(1), "id": .int(id)])
    case .taken(nil): .object(["verb": .number(2), "id": .number(0)])
    case .taken(let job?):
      job.holding.json(
        2, ["kind": .string(job.kind), "payload": .string(hexadecimal(job.payload))])
    case .renewed(let hold): .object(["verb": .number(3), "hold": .int(hold.rawValue)])
    case .finished(let hold): .object(["verb": .number(4), "hold": .int(hold.rawValue)])
    case .failed(let hold): .object(["verb": .number(5), "hold": .int(hold.rawValue)])
    case .status(let facts, let reason, let result):
      .object(
        facts.json.merging([
          "verb": .number(6), "reason": .string(reason), "result": .string(hexadecimal(result)),
        ]) { $1 })
    case .cancelled(let state): .object(["verb": .number(7), "state": .int(state.rawValue)])
    case .listed(let rows):
      .object(["verb": .number(8), "jobs": .array(rows.map { .object($0.json) })])
    }
  }
}
