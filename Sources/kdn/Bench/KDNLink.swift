internal import KDNClient
internal import KDNCore
internal import KDNWire

/// An object of the working set.
struct KDNObject: Sendable {
  /// The key under which GET finds it.
  let key: ObjectKey
  /// The checksum of its bytes.
  let checksum: Checksum
}

/// One connection to a kdnd.
// Safe because: a link is used by one worker at a time, as a connection asks.
@safe class KDNLink: BenchLink, @unchecked Sendable {
  /// Objects that an interrupted run leaves behind do not stay for long.
  static let ttlMilliseconds: UInt64 = 600_000

  fileprivate let client: Client
  fileprivate let objects: [KDNObject]
  private let question: MatchRequest?
  private let freshPrefix: String
  private var freshCount = 0
  private var storedKeys: [ObjectKey] = []

  /// Creates a link; `question` is the workload's MATCH, if it has one.
  init(
    _ connection: Connection, objects: [KDNObject], question: MatchRequest?, freshPrefix: String
  ) {
    client = Client(connection)
    self.objects = objects
    self.question = question
    self.freshPrefix = freshPrefix
  }

  /// All keys under which the link has stored something; many of them are evicted by now.
  var usedKeys: [ObjectKey] { storedKeys + (0..<freshCount).map(freshKey) }

  func store(_ object: Int, from buffer: Buffer) throws {
    storedKeys.append(objects[object].key)
    try put(objects[object].key, objects[object].checksum, buffer)
  }

  func put(_ object: Int, from buffer: Buffer) throws {
    // Stores are write-once: only a fresh key moves bytes.
    let key = freshKey(freshCount)
    freshCount += 1
    try put(key, client.connection.verifies ? nil : objects[object].checksum, buffer)
  }

  func get(_ wanted: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int {
    let items = objects[wanted].map { GetRequest.Item(key: $0.key) }
    let results = unsafe try client.connection.get(items, into: buffers.map { unsafe $0.bytes })
    return results.count { $0.bytes > 0 }
  }

  func check(_ wanted: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int {
    try get(wanted, into: buffers)
  }

  func settle() throws {}

  func exists(_ wanted: Range<Int>) throws -> Int {
    try client.exists(objects[wanted].map(\.key)).trueCount
  }

  func match() throws -> Int {
    guard let question else { return 0 }
    return try client.match(question).matchedChunks
  }

  private func put(_ key: ObjectKey, _ checksum: Checksum?, _ buffer: Buffer) throws {
    let facts = PutBeginRequest(
      key: key, totalBytes: buffer.byteCount, ttlMilliseconds: Self.ttlMilliseconds)
    let bytes = unsafe UnsafeRawBufferPointer(buffer.bytes)
    _ = unsafe try client.connection.put(PutItem(facts, pieces: [bytes], checksum: checksum))
  }

  private func freshKey(_ number: Int) -> ObjectKey {
    ObjectKey(opaque: HashChain.opaque(Array("\(freshPrefix)/\(number)".utf8)))
  }
}

/// One connection to a kdnd whose GET reads objects where the daemon keeps them.
// Safe because: a link is used by one worker at a time, as a connection asks.
@safe final class KDNInPlaceLink: KDNLink, @unchecked Sendable {
  private var leased: InPlaceResult?
  /// Takes in what was read, so that no reading is left out.
  private var firstBytes: UInt8 = 0

  override func get(_ wanted: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int {
    let found = try lease(wanted)
    for index in wanted.indices.map({ $0 - wanted.lowerBound }) {
      firstBytes ^= unsafe found.views(index).first?.first ?? 0
    }
    return found.results.count { $0.bytes > 0 }
  }

  override func check(_ wanted: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int {
    let found = try lease(wanted)
    for (index, buffer) in buffers.enumerated() {
      var offset = 0
      let views = unsafe found.views(index)
      for number in unsafe views.indices {
        let view = unsafe views[number]
        guard offset + view.count <= buffer.byteCount else { return 0 }
        unsafe UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[offset...]).copyMemory(
          from: view)
        offset += view.count
      }
    }
    try settle()
    return found.results.count { $0.bytes > 0 }
  }

  override func settle() throws {
    guard let leased else { return }
    self.leased = nil
    try client.connection.release(leased)
  }

  private func lease(_ wanted: Range<Int>) throws -> InPlaceResult {
    let items = objects[wanted].map { GetRequest.Item(key: $0.key) }
    let found = try client.connection.getInPlace(items)
    leased = found
    return found
  }
}
