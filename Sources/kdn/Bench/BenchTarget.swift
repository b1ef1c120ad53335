internal import KDNCore

/// One connection to a target; used by one worker at a time.
protocol BenchLink: Sendable {
  /// Stores the bytes of `buffer` as `object`, under a key that `get` finds.
  func store(_ object: Int, from buffer: Buffer) throws
  /// Stores the bytes of `buffer` as the workload's PUT does.
  func put(_ object: Int, from buffer: Buffer) throws
  /// Fetches `objects` into `buffers`; returns how many were there.
  func get(_ objects: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int
  /// Asks whether `objects` are there; returns how many are.
  func exists(_ objects: Range<Int>) throws -> Int
  /// Asks for the prefix of the workload's chain that is there; returns its chunks.
  func match() throws -> Int
}

/// Something that can serve a workload.
protocol BenchTarget: AnyObject {
  /// The name in reports.
  var name: String { get }
  /// Opens the workload's connections; `buffers` holds one buffer per object, each with its
  /// object's pattern.
  func open(_ workload: Workload, buffers: [Buffer]) throws -> [any BenchLink]
  /// CPU seconds that the target's process has used so far, nil if it cannot be known.
  func cpuSeconds() throws -> Double?
  /// Drops what the workload left behind and closes its connections.
  func close() throws
}
