internal import ArgumentParser
internal import KDNCore

/// What `kdn bench` does to its targets.
struct LoadOptions: ParsableArguments {
  @Option(help: "get, put, exists or match.")
  var op: Workload.Operation?
  @Option(help: "Several operations with weights, such as get=8,put=2, in place of --op.")
  var mix: String?
  @Option(help: "Sizes of objects for GET and PUT, with commas between.")
  var sizes = "1MiB,4MiB,16MiB,32MiB"
  @Option(
    help: "Objects of one GET, keys of one EXISTS, hashes of one MATCH; a PUT stores one object.")
  var batch = 1
  @Option(help: "Connections, each with its own thread.")
  var connections = 1
  @Option(help: "Seconds of each size, target and round.")
  var duration = 3.0
  @Option(help: "Rounds of each target; medians are taken over them.")
  var rounds = 3
  @Option(help: "Bytes of all objects of one size together.")
  var workingSet = "256MiB"
  @Flag(
    inversion: .prefixedNo,
    help: "Have KDN's client take checksums in the timed part; without either flag, yes.")
  var verify: Bool?
  @Flag(help: "Measure each workload with and without checksums.")
  var bothVerify = false

  private static let smallObjectBytes = 4096
  private static let smallObjectCount = 1024
  private static let weightMax = 1000

  func validate() throws {
    try Self.check("--batch", batch, in: 1...1024)
    try Self.check("--connections", connections, in: 1...256)
    try Self.check("--rounds", rounds, in: 1...1000)
    guard (0.1...3600).contains(duration) else {
      throw ValidationError("--duration must be 0.1 to 3600 seconds")
    }
    guard op == nil || mix == nil else { throw ValidationError("give --op or --mix, not both") }
    _ = try workloads()
  }

  /// The workloads asked for, one per size and kind of verification.
  func workloads() throws -> [Workload] {
    let mix = try operations()
    let moves = mix.contains { Workload.moves($0.operation) }
    let sizes = moves ? try objectSizes() : [Self.smallObjectBytes]
    let workingSet =
      moves
      ? try ByteCount(parsing: workingSet, field: "working-set").bytes
      : Self.smallObjectBytes * Self.smallObjectCount
    var workloads: [Workload] = []
    for size in sizes {
      for verifies in bothVerify && moves ? [false, true] : [verify ?? true] {
        workloads.append(
          Workload(
            mix: mix, objectBytes: size, workingSetBytes: workingSet, batch: batch,
            connections: connections, verifies: verifies))
      }
    }
    return workloads
  }

  private func objectSizes() throws -> [Int] {
    try sizes.split(separator: ",").map { text in
      let size = try ByteCount(parsing: String(text), field: "sizes").bytes
      try Self.check("--sizes", size, in: 64...512 << 20)
      return size
    }
  }

  private func operations() throws -> [(operation: Workload.Operation, weight: Int)] {
    guard let mix else { return [(op ?? .get, 1)] }
    return try mix.split(separator: ",").map { part in
      let pair = part.split(separator: "=")
      guard pair.count == 2, let weight = Int(pair[1]), (1...Self.weightMax).contains(weight),
        let operation = Workload.Operation(rawValue: String(pair[0]))
      else { throw ValidationError("'\(part)' is not an operation and its weight: get=8") }
      return (operation, weight)
    }
  }

  private static func check(_ option: String, _ value: Int, in range: ClosedRange<Int>) throws {
    guard range.contains(value) else {
      throw ValidationError("\(option) must be \(range.lowerBound) to \(range.upperBound)")
    }
  }
}

extension Workload.Operation: ExpressibleByArgument {}
