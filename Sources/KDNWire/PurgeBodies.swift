package import KDNCore

/// PURGE: objects to be dropped.
package struct PurgeRequest: FrameBody {
  /// Which objects.
  package enum Scope: Hashable, Sendable {
    /// These keys.
    case keys([ObjectKey])
    /// These chunks and all that build on them.
    case prefixes([ChunkHash])
    /// All objects of these layouts.
    case layouts([LayoutID])
    /// All objects of the namespace.
    case namespace
  }

  private enum Tag: UInt8 {
    case keys = 1
    case prefixes = 2
    case layouts = 3
    case namespace = 4
  }

  /// Which objects.
  package let scope: Scope

  private static let layoutByteCount = 16

  /// Asks to drop `scope`.
  package init(scope: Scope) { self.scope = scope }

  /// Decodes a whole body; throws a fault that names `scope`, `reserved`, `count`, `bodyLength` or
  /// a key's field.
  package init(from reader: inout ByteReader, limits: Limits) throws(FieldFault) {
    try reader.require(atLeast: 8)
    let rawTag: UInt8 = try reader.take("scope")
    guard let tag = Tag(rawValue: rawTag) else {
      throw FieldFault("scope", value: UInt64(rawTag), limit: 4, "unknown scope")
    }
    try reader.takeReserved(count: 3)
    let whole = tag == .namespace
    let count = try reader.takeCount(
      "count", least: whole ? 0 : 1, limit: whole ? 0 : limits.maxKeysPerRequest)
    switch tag {
    case .keys: scope = .keys(try reader.takeKeys(count))
    case .prefixes:
      try reader.require(exactly: count * ChunkHash.byteCount)
      var hashes: [ChunkHash] = []
      hashes.reserveCapacity(count)
      for _ in 0..<count { hashes.append(try ChunkHash(from: &reader)) }
      scope = .prefixes(hashes)
    case .layouts:
      try reader.require(exactly: count * Self.layoutByteCount)
      var layouts: [LayoutID] = []
      layouts.reserveCapacity(count)
      for _ in 0..<count { layouts.append(try LayoutID(from: &reader)) }
      scope = .layouts(layouts)
    case .namespace:
      try reader.require(exactly: 0)
      scope = .namespace
    }
  }

  package func write(to writer: inout ByteWriter) {
    switch scope {
    case .keys(let keys):
      Self.write(.keys, count: keys.count, to: &writer)
      for key in keys { key.write(to: &writer) }
    case .prefixes(let hashes):
      Self.write(.prefixes, count: hashes.count, to: &writer)
      for hash in hashes { hash.write(to: &writer) }
    case .layouts(let layouts):
      Self.write(.layouts, count: layouts.count, to: &writer)
      for layout in layouts { layout.write(to: &writer) }
    case .namespace: Self.write(.namespace, count: 0, to: &writer)
    }
  }

  private static func write(_ tag: Tag, count: Int, to writer: inout ByteWriter) {
    writer.put(tag.rawValue)
    writer.putZeros(3)
    writer.put(UInt32(count))
  }
}

/// The answer to PURGE.
package struct PurgeResponse: FrameBody {
  /// Objects dropped.
  package let objects: UInt64
  /// Their bytes.
  package let bytes: UInt64

  /// Creates the answer.
  package init(objects: UInt64, bytes: UInt64) {
    self.objects = objects
    self.bytes = bytes
  }

  /// Decodes a whole body; throws a fault that names `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 16)
    objects = try reader.take("objects")
    bytes = try reader.take("bytes")
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(objects)
    writer.put(bytes)
  }
}

/// The answer to STATS.
package struct StatsResponse: FrameBody {
  /// Statistics in JSON.
  package let json: String

  /// Creates the answer.
  package init(json: String) { self.json = json }

  /// Decodes a whole body; throws a fault that names `json` if it is not UTF-8.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    let count = reader.remaining
    let bytes = try reader.takeBytes("json", count: count)
    guard let json = String(validating: bytes, as: UTF8.self) else {
      throw FieldFault("json", value: count, limit: count, "not UTF-8")
    }
    self.json = json
  }

  package func write(to writer: inout ByteWriter) { writer.put(contentsOf: json.utf8) }
}
