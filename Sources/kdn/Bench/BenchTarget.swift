internal import KDNCore

/// One connection to a target; used by one worker at a time.
protocol BenchLink: Sendable {
  /// Stores the bytes of `buffer` as `object`, under a key that `get` finds.
  func store(_ object: Int, from buffer: Buffer) throws
  /// Stores the bytes of `buffer` as the workload's PUT does.
  func put(_ object: Int, from buffer: Buffer) throws
  /// Fetches `objects` into `buffers`; returns how many were there.
  func get(_ objects: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int
  /// Fetches `objects` and leaves their bytes in `buffers`, however `get` reads them.
  func check(_ objects: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int
  /// Ends what an operation began and its latency does not count, such as a lease.
  func settle() throws
  /// Asks whether `objects` are there; returns how many are.
  func exists(_ objects: Range<Int>) throws -> Int
  /// Asks for the prefix of the workload's chain that is there; returns its chunks.
  func match() throws -> Int
}

extension BenchLink {
  func check(_ objects: Range<Int>, into buffers: ArraySlice<Buffer>) throws -> Int {
    try get(objects, into: buffers)
  }

  func settle() throws {}
}

/// Something that can serve a workload.
protocol BenchTarget: AnyObject {
  /// The name in reports.
  var name: String { get }
  /// How the bytes are moved, nil where there is no choice; known once the target is open.
  var link: String? { get }
  /// Opens the workload's connections; `buffers` holds one buffer per object, each with its
  /// object's pattern.
  func open(_ workload: Workload, buffers: [Buffer]) throws -> [any BenchLink]
  /// CPU seconds that the target's process has used so far, nil if it cannot be known.
  func cpuSeconds() throws -> Double?
  /// Drops what the workload left behind and closes its connections.
  func close() throws
}

extension BenchTarget {
  var link: String? { nil }
}
