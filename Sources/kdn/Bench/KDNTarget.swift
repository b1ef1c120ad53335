internal import FoundationEssentials
internal import KDNClient
internal import KDNCore
internal import KDNWire

/// A kdnd, over the client that the command line uses.
final class KDNTarget: BenchTarget {
  let name: String
  private(set) var link: String?
  private let isInPlace: Bool
  private let connect: () throws -> Connection
  private let pid: Int32?
  private let run: UInt64
  private var control: Client?
  private var links: [KDNLink] = []

  private static let chunkTokens = 16

  /// Creates the target; `pid` is the server's if it runs here, `run` keeps keys of runs apart.
  ///
  /// With `isInPlace` GET reads objects where the daemon keeps them.
  init(
    name: String = "kdn", pid: Int32?, run: UInt64, isInPlace: Bool = false,
    connect: @escaping () throws -> Connection
  ) {
    self.name = name
    self.isInPlace = isInPlace
    self.connect = connect
    self.pid = pid
    self.run = run
  }

  func open(_ workload: Workload, buffers: [Buffer]) throws -> [any BenchLink] {
    let control = Client(try connect())
    self.control = control
    link = control.connection.link.kind.rawValue
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
      // Registered once, as an engine does with its own memory.
      for buffer in buffers[workload.objects(ofConnection: number)] {
        _ = unsafe try connection.register(buffer.bytes)
      }
      let prefix = "\(prefix)/\(workload.verifies ? "v" : "n")/\(number)"
      return isInPlace
        ? KDNInPlaceLink(connection, objects: objects, question: question, freshPrefix: prefix)
        : KDNLink(connection, objects: objects, question: question, freshPrefix: prefix)
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
