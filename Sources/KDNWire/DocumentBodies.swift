package import KDNCore

/// DOCUMENT: a named text to be published, resolved, listed or retired.
package enum DocumentRequest: FrameBody {
  /// Makes the name stand for this text, in place of what it stood for.
  case publish(Document)
  /// Asks what a name stands for.
  case resolve(name: String)
  /// Asks for names behind `after` in the order of their bytes, at most `limit`.
  case list(after: String, limit: Int)
  /// Forgets a name; its chunks stay.
  case retire(name: String)

  /// Most documents in one answer to `list`.
  package static let listMax = 1000

  /// What is asked for, as on the wire.
  enum Verb: UInt8 {
    case publish = 1
    case resolve = 2
    case list = 3
    case retire = 4
  }

  /// Decodes a whole body; throws a fault that names `verb`, `reserved`, `bodyLength` or the field
  /// of a document.
  package init(from reader: inout ByteReader, limits: Limits) throws(FieldFault) {
    try reader.require(atLeast: 4)
    switch try Verb(from: &reader, reservedBytes: 3) {
    case .publish: self = .publish(try Document(from: &reader, chunksMax: limits.maxKeysPerRequest))
    case .resolve: self = .resolve(name: try reader.takeDocumentName())
    case .list:
      try reader.require(atLeast: 4)
      let limit: UInt32 = try reader.take("limit")
      guard (1...UInt32(Self.listMax)).contains(limit) else {
        throw FieldFault(
          "limit", value: UInt64(limit), limit: UInt64(Self.listMax), "must be 1 to 1000")
      }
      let after = try reader.takeText("after", limit: Document.nameBytesMax)
      self = .list(after: after, limit: Int(limit))
    case .retire: self = .retire(name: try reader.takeDocumentName())
    }
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    switch self {
    case .publish(let document):
      Verb.publish.write(reservedBytes: 3, to: &writer)
      document.write(to: &writer)
    case .resolve(let name):
      Verb.resolve.write(reservedBytes: 3, to: &writer)
      writer.put(name, limit: Document.nameBytesMax)
    case .list(let after, let limit):
      Verb.list.write(reservedBytes: 3, to: &writer)
      writer.put(UInt32(limit))
      writer.put(after, limit: Document.nameBytesMax)
    case .retire(let name):
      Verb.retire.write(reservedBytes: 3, to: &writer)
      writer.put(name, limit: Document.nameBytesMax)
    }
  }
}

/// The answer to DOCUMENT.
package enum DocumentResponse: FrameBody {
  /// A name and what it stands for, without the chunks.
  package struct Listing: Hashable, Sendable {
    /// The name.
    package let name: String
    /// Grows with each publication in the namespace.
    package let epoch: UInt64
    /// The layout of its KV.
    package let layout: LayoutID
    /// Tokens of the whole text.
    package let tokenCount: Int
    /// Number of chunks.
    package let chunkCount: Int

    /// Puts a listing together.
    package init(name: String, epoch: UInt64, layout: LayoutID, tokenCount: Int, chunkCount: Int) {
      self.name = name
      self.epoch = epoch
      self.layout = layout
      self.tokenCount = tokenCount
      self.chunkCount = chunkCount
    }
  }

  /// The name stands for what was published, as of this epoch.
  case published(epoch: UInt64)
  /// What the name stands for; `presentChunks` leading chunks can be had now.
  case resolved(Document, epoch: UInt64, presentChunks: Int)
  /// Names in the order of their bytes.
  case listed([Listing])
  /// The name stands for nothing any more; the epoch that it had.
  case retired(epoch: UInt64)

  /// Decodes a whole body; throws a fault that names `verb`, `reserved`, `bodyLength`, `count`,
  /// `presentChunks` or the field of a document.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 8)
    switch try DocumentRequest.Verb(from: &reader, reservedBytes: 7) {
    case .publish: self = .published(epoch: try reader.takeEpoch())
    case .retire: self = .retired(epoch: try reader.takeEpoch())
    case .resolve:
      try reader.require(atLeast: 12)
      let epoch: UInt64 = try reader.take("epoch")
      let present: UInt32 = try reader.take("presentChunks")
      let document = try Document(from: &reader, chunksMax: .max)
      guard present <= UInt32(clamping: document.hashes.count) else {
        throw FieldFault(
          "presentChunks", value: Int(present), limit: document.hashes.count, "more than it has")
      }
      self = .resolved(document, epoch: epoch, presentChunks: Int(present))
    case .list:
      try reader.require(atLeast: 4)
      let count = try reader.takeCount("count", limit: DocumentRequest.listMax)
      var listings: [Listing] = []
      listings.reserveCapacity(count)
      for _ in 0..<count { listings.append(try Listing(from: &reader)) }
      self = .listed(listings)
    }
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    switch self {
    case .published(let epoch):
      DocumentRequest.Verb.publish.write(reservedBytes: 7, to: &writer)
      writer.put(epoch)
    case .resolved(let document, let epoch, let presentChunks):
      DocumentRequest.Verb.resolve.write(reservedBytes: 7, to: &writer)
      writer.put(epoch)
      writer.put(UInt32(presentChunks))
      document.write(to: &writer)
    case .listed(let listings):
      DocumentRequest.Verb.list.write(reservedBytes: 7, to: &writer)
      writer.put(UInt32(listings.count))
      for listing in listings { listing.write(to: &writer) }
    case .retired(let epoch):
      DocumentRequest.Verb.retire.write(reservedBytes: 7, to: &writer)
      writer.put(epoch)
    }
  }
}

extension DocumentRequest.Verb {
  fileprivate init(from reader: inout ByteReader, reservedBytes: Int) throws(FieldFault) {
    let raw: UInt8 = try reader.take("verb")
    guard let verb = Self(rawValue: raw) else {
      throw FieldFault("verb", value: UInt64(raw), limit: 4, "unknown verb")
    }
    try reader.takeReserved(count: reservedBytes)
    self = verb
  }

  fileprivate func write(reservedBytes: Int, to writer: inout ByteWriter) {
    writer.put(rawValue)
    writer.putZeros(reservedBytes)
  }
}

extension Document {
  /// tokenCount, chunkTokens and layout.
  private static let fixedBytes = 24

  fileprivate init(from reader: inout ByteReader, chunksMax: Int) throws(FieldFault) {
    try reader.require(atLeast: Self.fixedBytes)
    let tokenCount: UInt32 = try reader.take("tokenCount")
    let chunkTokens: UInt32 = try reader.take("chunkTokens")
    let layout = try LayoutID(from: &reader)
    let name = try reader.takeDocumentName()
    let metadata = try reader.takeText("metadata", limit: Document.metadataBytesMax)
    try reader.require(atLeast: 4)
    let count = try reader.takeCount("count", least: 1, limit: chunksMax)
    try reader.require(exactly: count.multipliedReportingOverflow(by: ChunkHash.byteCount).0)
    var hashes: [ChunkHash] = []
    hashes.reserveCapacity(count)
    for _ in 0..<count { hashes.append(try ChunkHash(from: &reader)) }
    try self.init(
      name: name, layout: layout, tokenCount: Int(tokenCount), chunkTokens: Int(chunkTokens),
      hashes: hashes, metadata: metadata)
  }

  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(UInt32(tokenCount))
    writer.put(UInt32(chunkTokens))
    layout.write(to: &writer)
    writer.put(name, limit: Self.nameBytesMax)
    writer.put(metadata, limit: Self.metadataBytesMax)
    writer.put(UInt32(hashes.count))
    for hash in hashes { hash.write(to: &writer) }
  }
}

extension DocumentResponse.Listing {
  /// epoch, tokenCount, chunkCount and layout.
  private static let fixedBytes = 32

  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: Self.fixedBytes)
    epoch = try reader.take("epoch")
    tokenCount = Int(try reader.take("tokenCount") as UInt32)
    chunkCount = Int(try reader.take("chunkCount") as UInt32)
    layout = try LayoutID(from: &reader)
    name = try reader.takeDocumentName()
  }

  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(epoch)
    writer.put(UInt32(tokenCount))
    writer.put(UInt32(chunkCount))
    layout.write(to: &writer)
    writer.put(name, limit: Document.nameBytesMax)
  }
}

extension ByteReader {
  fileprivate mutating func takeEpoch() throws(FieldFault) -> UInt64 {
    try require(atLeast: 8)
    return try take("epoch")
  }
}
