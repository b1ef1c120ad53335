internal import KDNCore

/// What is measured: one mix of operations at one size, the same for all targets.
struct Workload: Sendable {
  /// An operation of a workload.
  enum Operation: String, CaseIterable, Codable, Sendable {
    case get
    case put
    case exists
    case match
  }

  /// Operations in the order in which they are repeated; as many of each as its weight.
  let operations: [Operation]
  /// Bytes of one object.
  let objectBytes: Int
  /// Objects of the working set, over all connections.
  let objectCount: Int
  /// Objects of one GET, keys of one EXISTS, hashes of one MATCH; a PUT stores one object.
  let batch: Int
  /// Connections, each with its own thread and its own share of the objects.
  let connections: Int
  /// Whether KDN takes checksums of the bytes; the other targets have none.
  let verifies: Bool

  /// The name of an operation or mix, such as `get` or `get=8,put=2`.
  let name: String

  /// Creates a workload of a mix; each connection gets at least one whole batch of objects.
  init(
    mix: [(operation: Operation, weight: Int)], objectBytes: Int, workingSetBytes: Int, batch: Int,
    connections: Int, verifies: Bool
  ) {
    operations = Self.interleave(mix)
    name =
      mix.count == 1
      ? mix[0].operation.rawValue
      : mix.map { "\($0.operation.rawValue)=\($0.weight)" }.joined(separator: ",")
    self.objectBytes = objectBytes
    self.batch = batch
    self.connections = connections
    self.verifies = verifies
    let share = max(1, workingSetBytes / objectBytes / connections)
    objectCount = (share + batch - 1) / batch * batch * connections
  }

  /// The objects of one connection: a contiguous share, a multiple of the batch.
  func objects(ofConnection number: Int) -> Range<Int> {
    let share = objectCount / connections
    return number * share..<(number + 1) * share
  }

  /// Whether the workload moves objects, so that throughput is what counts.
  var movesObjects: Bool { operations.contains(where: Self.moves) }

  /// Whether an operation moves objects.
  static func moves(_ operation: Operation) -> Bool { operation == .get || operation == .put }

  /// Spreads the operations of a mix evenly over one period.
  private static func interleave(_ mix: [(operation: Operation, weight: Int)]) -> [Operation] {
    let period = mix.reduce(0) { $0 + $1.weight }
    var credit = [Int](repeating: 0, count: mix.count)
    var operations: [Operation] = []
    for _ in 0..<period {
      for index in mix.indices { credit[index] += mix[index].weight }
      guard let due = credit.indices.max(by: { credit[$0] < credit[$1] }) else { break }
      credit[due] -= period
      operations.append(mix[due].operation)
    }
    return operations
  }
}
