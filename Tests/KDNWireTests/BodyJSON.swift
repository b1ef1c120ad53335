import KDNCore
import KDNWire

// What the vectors say of a body, formed from the decoded body.

private func bytes(_ write: (inout ByteWriter) -> Void) -> String {
  var writer = ByteWriter()
  write(&writer)
  return hexadecimal(writer.bytes)
}

private func json(_ keys: [ObjectKey]) -> JSON {
  .array(keys.map { key in .string(bytes { key.write(to: &$0) }) })
}

func json(_ part: Part) -> JSON {
  .object([
    "firstLayer": .int(part.firstLayer), "layerCount": .int(part.layerCount),
    "firstKVHead": .int(part.firstKVHead), "kvHeadCount": .int(part.kvHeadCount),
  ])
}

private func json(_ cause: MissCause?) -> JSON { .string(cause?.name ?? "none") }

private func json(_ item: GetRequest.Item) -> JSON {
  var fields: [String: JSON] = [
    "key": .string(bytes { item.key.write(to: &$0) }), "ranges": .array([]), "part": .null,
  ]
  switch item.selection {
  case .whole: fields["selection"] = .number(0)
  case .ranges(let ranges):
    fields["selection"] = .number(1)
    fields["ranges"] = .array(ranges.map { .array([.int($0.lowerBound), .int($0.count)]) })
  case .part(let part):
    fields["selection"] = .number(2)
    fields["part"] = json(part)
  }
  return .object(fields)
}

private func json(_ match: MatchRequest) -> JSON {
  .object([
    "flags": .number(match.leaseMilliseconds == nil ? 0 : 1), "variant": .int(match.variant),
    "leaseMillis": .int(match.leaseMilliseconds ?? 0), "layoutID": .string("\(match.layout)"),
    "parts": .array(match.parts.map { json($0) }),
    "hashes": .array(match.hashes.map { .string("\($0)") }),
  ])
}

private func json(_ put: PutBeginRequest) -> JSON {
  .object([
    "key": .string(bytes { put.key.write(to: &$0) }), "parent": .string("\(put.parent)"),
    "totalBytes": .int(put.totalBytes), "firstToken": .int(put.firstToken),
    "tokenCount": .int(put.tokenCount), "ttlMillis": .int(put.ttlMilliseconds),
    "durability": .int(put.durability.rawValue), "codec": .int(put.codec.rawValue),
    "flags": .number(0), "recomputeMicros": .int(put.recomputeMicroseconds),
  ])
}

private func json(_ purge: PurgeRequest) -> JSON {
  switch purge.scope {
  case .keys(let keys): .object(["scope": .number(1), "operands": json(keys)])
  case .prefixes(let hashes):
    .object(["scope": .number(2), "operands": .array(hashes.map { .string("\($0)") })])
  case .layouts(let layouts):
    .object(["scope": .number(3), "operands": .array(layouts.map { .string("\($0)") })])
  case .namespace: .object(["scope": .number(4), "operands": .array([])])
  }
}

extension Request {
  var json: JSON {
    switch self {
    case .hello(let body):
      .object([
        "minVersion": .int(body.minVersion), "maxVersion": .int(body.maxVersion),
        "flags": .number(body.usesTicket ? 1 : 0), "namespace": .string(body.namespace),
        "token": .string(body.token), "agent": .string(body.agent),
      ])
    case .layout(let body):
      .object(["layout": .string(hexadecimal(body.layout.canonicalEncoding))])
    case .match(let body): KDNWireTests.json(body)
    case .exists(let body), .touch(let body), .unpin(let body), .prefetch(let body):
      .object(["keys": KDNWireTests.json(body.keys)])
    case .get(let body):
      .object(
        [
          "flags": .int(body.flags.rawValue), "acceptedCodecs": .int(body.acceptedCodecs.rawValue),
          "items": .array(body.items.map { KDNWireTests.json($0) }),
        ].merging(body.place.json) { $1 }.merging(body.adaptation?.json ?? [:]) { $1 })
    case .putBegin(let body): KDNWireTests.json(body)
    case .putData(let body):
      .object(
        ["transferID": .int(body.transferID), "offset": .int(body.offset)]
          .merging(body.source.json) { $1 })
    case .putCommit(let body):
      .object(["transferID": .int(body.transferID), "checksum": .int(body.checksum.value)])
    case .putAbort(let body): .object(["transferID": .int(body.transferID)])
    case .release(let body): .object(["leaseID": .int(body.leaseID)])
    case .pin(let body):
      .object(["ttlMillis": .int(body.ttlMilliseconds), "keys": KDNWireTests.json(body.keys)])
    case .purge(let body): KDNWireTests.json(body)
    case .stats: .null
    case .document(let body): body.json
    case .compose(let body): body.json
    case .edit(let body): body.json
    case .work(let body): body.json
    case .mapSlab(let body): .object(["slabID": .int(body.slabID)])
    case .openWindow(let body): .object(["byteCount": .int(body.byteCount)])
    case .linkTicket: .object([:])
    case .codecProfile(let body): body.json
    }
  }
}

private func json(_ hello: HelloResponse) -> JSON {
  let limits = hello.limits
  return .object([
    "version": .int(hello.version), "links": .int(hello.links.rawValue),
    "maxBodyBytes": .int(limits.maxBodyBytes),
    "maxFramePayloadBytes": .int(limits.maxFramePayloadBytes),
    "maxObjectBytes": .int(limits.maxObjectBytes),
    "maxKeysPerRequest": .int(limits.maxKeysPerRequest),
    "maxRequestsInFlight": .int(limits.maxRequestsInFlight),
    "creditBytes": .int(limits.creditBytes),
    "defaultDeadlineMillis": .int(limits.defaultDeadlineMilliseconds),
    "maxDeadlineMillis": .int(limits.maxDeadlineMilliseconds),
    "idleTimeoutMillis": .int(limits.idleTimeoutMilliseconds),
    "maxLeaseMillis": .int(limits.maxLeaseMilliseconds),
    "namespaceGeneration": .int(hello.namespaceGeneration),
    "serverID": .string(hexadecimal(hello.serverID)), "server": .string(hello.server),
  ])
}

private func json(_ match: MatchResponse) -> JSON {
  let tiers = match.tiers
  return .object([
    "matchedChunks": .int(match.matchedChunks), "cause": json(match.miss),
    "tiers": .array([tiers.gpu, tiers.ram, tiers.disk, tiers.origin].map { .int($0) }),
    "matchedBytes": .int(match.matchedBytes), "estimateMicros": .int(match.estimateMicroseconds),
    "leaseID": .int(match.leaseID), "leaseMillis": .int(match.leaseMilliseconds),
  ])
}

func json(_ row: GetDescriptor) -> JSON {
  .object([
    "miss": .bool(row.miss != nil), "cause": json(row.miss), "codec": .int(row.codec.rawValue),
    "objectBytes": .int(row.objectBytes), "sentBytes": .int(row.sentBytes),
    "objectChecksum": .int(row.objectChecksum.value), "sentChecksum": .int(row.sentChecksum.value),
  ])
}

extension Response {
  var json: JSON {
    switch self {
    case .hello(let body): KDNWireTests.json(body)
    case .layout(let body):
      .object(["layoutID": .string("\(body.layout)"), "bytesPerToken": .int(body.bytesPerToken)])
    case .match(let body): KDNWireTests.json(body)
    case .exists(let body):
      .object(["bits": .array((0..<body.present.count).map { .bool(body.present[$0]) })])
    case .get(let body):
      .object(
        ["descriptors": .array(body.descriptors.map { KDNWireTests.json($0) })]
          .merging(body.inPlace?.json ?? [:]) { $1 })
    case .putBegin(.reserved): .object(["state": .number(1), "objectChecksum": .number(0)])
    case .putBegin(.present(let checksum)):
      .object(["state": .number(2), "objectChecksum": .int(checksum.value)])
    case .putCommit(let body):
      .object([
        "state": .int(body.state.rawValue), "objectChecksum": .int(body.checksum.value),
      ])
    case .putAbort, .release: .null
    case .touch(let body): .object(["touched": .int(body.touched)])
    case .pin(let body): Self.json(body, "pinned")
    case .unpin(let body): Self.json(body, "unpinned")
    case .prefetch(let body):
      .object(["present": .int(body.present), "started": .int(body.started)])
    case .purge(let body): .object(["objects": .int(body.objects), "bytes": .int(body.bytes)])
    case .stats(let body): .object(["json": .string(body.json)])
    case .document(let body): body.json
    case .compose(let body): body.json
    case .edit(let body): body.json
    case .work(let body): body.json
    case .mapSlab(let body): .object(["byteCount": .int(body.byteCount)])
    case .openWindow(let body): .object(["byteCount": .int(body.byteCount)])
    case .linkTicket(let body): body.json
    case .codecProfile(let body): body.json
    }
  }

  private static func json(_ pins: PinResponse, _ count: String) -> JSON {
    .object([
      count: .int(pins.changed.trueCount), "bitmap": .string(hexadecimal(pins.changed.bytes)),
    ])
  }
}

extension ErrorBody {
  var json: JSON {
    .object([
      "retryAfterMillis": .int(retryAfterMilliseconds), "field": .string(field),
      "value": .int(value), "limit": .int(limit), "message": .string(message),
    ])
  }
}

private func json(_ document: Document) -> [String: JSON] {
  [
    "name": .string(document.name), "layoutID": .string("\(document.layout)"),
    "tokenCount": .int(document.tokenCount), "chunkTokens": .int(document.chunkTokens),
    "metadata": .string(document.metadata),
    "hashes": .array(document.hashes.map { .string("\($0)") }),
  ]
}

extension DocumentRequest {
  fileprivate var json: JSON {
    switch self {
    case .publish(let document):
      .object(KDNWireTests.json(document).merging(["verb": .number(1)]) { $1 })
    case .resolve(let name): .object(["verb": .number(2), "name": .string(name)])
    case .list(let after, let limit):
      .object(["verb": .number(3), "after": .string(after), "limit": .int(limit)])
    case .retire(let name): .object(["verb": .number(4), "name": .string(name)])
    }
  }
}

extension DocumentResponse {
  fileprivate var json: JSON {
    switch self {
    case .published(let epoch): .object(["verb": .number(1), "epoch": .int(epoch)])
    case .resolved(let document, let epoch, let presentChunks):
      .object(
        KDNWireTests.json(document).merging([
          "verb": .number(2), "epoch": .int(epoch), "presentChunks": .int(presentChunks),
        ]) { $1 })
    case .listed(let listings):
      .object(["verb": .number(3), "documents": .array(listings.map(\.json))])
    case .retired(let epoch): .object(["verb": .number(4), "epoch": .int(epoch)])
    }
  }
}

extension DocumentResponse.Listing {
  fileprivate var json: JSON {
    .object([
      "name": .string(name), "epoch": .int(epoch), "layoutID": .string("\(layout)"),
      "tokenCount": .int(tokenCount), "chunkCount": .int(chunkCount),
    ])
  }
}
