internal import FoundationEssentials
internal import KDNClient
internal import KDNCore
internal import KDNWire

/// A kdnd, over the client that the command line uses.
final class KDNTarget: BenchTarget {
  let name: String
  private let connect: () throws -> Connection
  private let pid: Int32?
  private let run: UInt64
  private var control: Client?
  private var links: [KDNLink] = []

  private static let chunkTokens = 16

  /// Creates the target; `pid` is the server's if it runs here, `run` keeps keys of runs apart.
  init(
    name: String = "kdn", pid: Int32?, run: UInt64, connect: @escaping () throws -> Connection
  ) {
    self.name = name
    self.connect = connect
    self.pid = pid
    self.run = run
  }

  func open(_ workload: Workload, buffers: [Buffer]) throws -> [any BenchLink] {
    let control = Client(try connect())
    self.control = control
    let prefix = "\(name)-bench/\(run)/\(workload.objectBytes)"
    let objects = (0..<workload.objectCount).map { number in
      KDNObject(
        key: ObjectKey(opaque: HashChain.opaque(Array("\(prefix)/\(number)".utf8))),
        checksum: buffers[number].checksum())
    }
    let question =
      workload.operations.contains(.match)
      ? try storeChain(of: workload.batch, with: control) : nil
    links = try (0..<workload.connections).map { number in
      let connection = try connect()
      connection.verifies = workload.verifies
      return KDNLink(
        connection, objects: objects, question: question,
        freshPrefix: "\(prefix)/\(workload.verifies ? "v" : "n")/\(number)")
    }
    return links
  }

  func cpuSeconds() throws -> Double? {
    if let pid { return ProcessTime.of(pid: pid) }
    guard let json = try control?.stats() else { return nil }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Statistics.self, from: Data(json.utf8)).process.cpuSeconds
  }

  func close() throws {
    guard let control else { return }
    let most = control.connection.hello.limits.maxKeysPerRequest
    for link in links {
      let keys = link.usedKeys
      for first in stride(from: 0, to: keys.count, by: most) {
        _ = try control.purge(.keys(Array(keys[first..<min(first + most, keys.count)])))
      }
    }
    links = []
    control.connection.close()
    self.control = nil
  }

  /// Stores a chain of small chunks; returns the question for all of them.
  private func storeChain(of count: Int, with client: Client) throws -> MatchRequest {
    let group = LayoutGroup(kind: .opaque(bytesPerToken: 1), layers: [0])
    let layout = try client.register(Layout(elementType: .i8, groups: [group])).layout
    let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
    let tokens = (0..<UInt32(count * Self.chunkTokens)).map { $0 }
    let hashes = try HashChain.hashes(
      root: try HashChain.root(model: "\(name)-bench/\(run)"), tokens: tokens,
      chunkTokens: Self.chunkTokens)
    let bytes = [UInt8](repeating: 1, count: Self.chunkTokens)
    var parent = ChunkHash.none
    for (number, hash) in hashes.enumerated() {
      let facts = PutBeginRequest(
        key: ObjectKey(hash: hash, layout: layout, part: part), parent: parent,
        totalBytes: bytes.count, firstToken: UInt32(number * Self.chunkTokens),
        tokenCount: UInt32(Self.chunkTokens), ttlMilliseconds: KDNLink.ttlMilliseconds)
      _ = try client.put(facts, bytes: bytes)
      parent = hash
    }
    return MatchRequest(hashes: hashes, parts: [part], layout: layout)
  }

  /// What the benchmark reads from STATS.
  private struct Statistics: Decodable {
    struct Process: Decodable { let cpuSeconds: Double }
    let process: Process
  }
}

/// An object of the working set.
struct KDNObject: Sendable {
  /// The key under which GET finds it.
  let key: ObjectKey
  /// The checksum of its bytes.
  let checksum: Checksum
}

/// One connection to a kdnd.
// Safe because: a link is used by one worker at a time, as a connection asks.
@safe final class KDNLink: BenchLink, @unchecked Sendable {
  /// Objects that an interrupted run leaves behind do not stay for long.
  static let ttlMilliseconds: UInt64 = 600_000

  private let client: Client
  private let objects: [KDNObject]
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
