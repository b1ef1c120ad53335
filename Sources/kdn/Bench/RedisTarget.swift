internal import KDNCore

/// A Redis server, spoken to in RESP2 over blocking sockets as plain as the ceiling's.
final class RedisTarget: BenchTarget {
  let name = "redis"
  private let host: String
  private let port: UInt16
  private let pid: Int32?
  private let prefix: String
  private var control: RedisLink?
  private var objectCount = 0

  private static let keysPerDelete = 1024

  /// Creates the target; `pid` is the server's if it runs here, `run` keeps keys of runs apart.
  init(host: String, port: UInt16, pid: Int32?, run: UInt64) {
    self.host = host
    self.port = port
    self.pid = pid
    prefix = "kdn-bench:\(run):"
  }

  func open(_ workload: Workload, buffers: [Buffer]) throws -> [any BenchLink] {
    objectCount = workload.objectCount
    let keys = (0..<objectCount).map { "\(prefix)\(workload.objectBytes):\($0)" }
    control = try link(workload, keys)
    return try (0..<workload.connections).map { _ in try link(workload, keys) }
  }

  func cpuSeconds() throws -> Double? {
    if let pid { return ProcessTime.of(pid: pid) }
    guard let text = try control?.info("cpu") else { return nil }
    let wanted = ["used_cpu_sys", "used_cpu_user"]
    return text.split(whereSeparator: \.isNewline).reduce(0.0) { sum, line in
      let pair = line.split(separator: ":")
      guard pair.count == 2, wanted.contains(String(pair[0])) else { return sum }
      return sum + (Double(pair[1]) ?? 0)
    }
  }

  func close() throws {
    for first in stride(from: 0, to: objectCount, by: Self.keysPerDelete) {
      try control?.delete(first..<min(first + Self.keysPerDelete, objectCount))
    }
    control = nil
  }

  private func link(_ workload: Workload, _ keys: [String]) throws(BenchError) -> RedisLink {
    let socket = try PlainSocket(host: host, port: port, target: name)
    socket.limitWaiting()
    return RedisLink(
      socket, keys: keys,
      objectBytes: workload.objectBytes, batch: workload.batch)
  }
}

/// One connection to Redis.
struct RedisLink: BenchLink {
  private let socket: PlainSocket
  private let keys: [String]
  private let batch: Int
  private let bulkHead: [UInt8]

  init(_ socket: PlainSocket, keys: [String], objectBytes: Int, batch: Int) {
    self.socket = socket
    self.keys = keys
    self.batch = batch
    bulkHead = Array("$\(objectBytes)\r\n".utf8)
  }

  func store(_ object: Int, from buffer: Buffer) throws {
    let key = keys[object]
    let head = "*3\r\n$3\r\nSET\r\n$\(key.utf8.count)\r\n\(key)\r\n$\(buffer.byteCount)\r\n"
    try socket.send(Array(head.utf8), buffer, tail: RESP.lineEnd)
    let answer = try RESP.line(from: socket)
    guard answer == "+OK" else { throw BenchError.refused(target: "redis", answer: answer) }
  }

  func put(_ object: Int, from buffer: Buffer) throws { try store(object, from: buffer) }

  func get(_ objects: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int {
    var commands: [UInt8] = []
    for object in objects { commands += RESP.command(["GET", keys[object]]) }
    try socket.send(commands)
    var head = bulkHead
    var tail = RESP.lineEnd
    for buffer in buffers {
      try socket.receive(&head, buffer, tail: &tail)
      // A missing key would have another, shorter answer; the run has stored all of them.
      guard head == bulkHead, tail == RESP.lineEnd else {
        let answer = String(decoding: head, as: UTF8.self)
        throw BenchError.refused(target: "redis", answer: answer)
      }
    }
    return objects.count
  }

  func exists(_ objects: Range<Int>) throws -> Int {
    try socket.send(RESP.command(["EXISTS"] + keys[objects]))
    return try count()
  }

  func match() throws -> Int { try exists(0..<batch) }

  /// Deletes `objects`.
  func delete(_ objects: Range<Int>) throws {
    try socket.send(RESP.command(["DEL"] + keys[objects]))
    _ = try count()
  }

  /// A section of the server's INFO.
  func info(_ section: String) throws -> String {
    try socket.send(RESP.command(["INFO", section]))
    return try RESP.bulk(from: socket)
  }

  private func count() throws(BenchError) -> Int {
    let answer = try RESP.line(from: socket)
    guard answer.hasPrefix(":"), let count = Int(answer.dropFirst()) else {
      throw .refused(target: "redis", answer: answer)
    }
    return count
  }
}
