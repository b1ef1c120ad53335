internal import KDNCore
internal import KDNWire

extension Connection {
  /// So few bytes come sooner in the stream than by a lease that is to be released.
  static let inlineBytesMax = 16 << 10

  /// Fetches items over shared memory, each copied into its own buffer.
  ///
  /// The server lends no more at once than the connection's credit: what was beyond it is asked for
  /// again once the others are given back. What alone is beyond it comes in the stream, as does
  /// what lies in a slab that cannot be mapped.
  func getShared(
    _ items: [GetRequest.Item], into buffers: [UnsafeMutableRawBufferPointer],
    _ terms: GetTerms, checks: Bool, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> [GetResult] {
    var results = [GetResult](repeating: .miss(.overCredit), count: items.count)
    var open = Array(items.indices)
    var unmapped: [Int] = []
    while !open.isEmpty {
      let request = terms.request(
        open.map { items[$0] }, place: .sharedMemory(leaseMilliseconds: 0))
      let found = try locate(request, deadlineMilliseconds)
      for (number, index) in open.enumerated() {
        results[index] = unsafe found.copy(
          number, to: buffers[index], verifies: checks, &checksum, progress: progress)
      }
      // Bytes that were checked are right whenever they were read; others only under the lease.
      if found.lease != 0, SystemClock().now() >= found.expiresAt {
        for index in open where !checks || results[index] == .miss(.corrupt) {
          results[index] = Self.tooLate(results[index])
        }
      }
      try release(found.lease)
      unmapped += open.indices.filter { found.isUnmapped($0) }.map { open[$0] }
      let left = open.filter { results[$0] == .miss(.overCredit) }
      guard left.count < open.count else {
        unmapped += left
        break
      }
      open = left
    }
    unsafe try getInline(
      unmapped, items, into: buffers, terms, checks, deadlineMilliseconds, &results)
    return results
  }

  /// What may have been read after its lease was over.
  private static func tooLate(_ result: GetResult) -> GetResult {
    switch result {
    case .hit, .encoded, .miss(.corrupt): .miss(.overDeadline)
    case .miss, .noRoom: result
    }
  }

  private func getInline(
    _ left: [Int], _ items: [GetRequest.Item], into buffers: [UnsafeMutableRawBufferPointer],
    _ terms: GetTerms, _ checks: Bool, _ deadlineMilliseconds: UInt32,
    _ results: inout [GetResult]
  ) throws(ClientError) {
    for index in left {
      let item = items[index]
      let answered = try unsafe getInline(
        [item], into: [buffers[index]], terms, checks: checks, deadlineMilliseconds)
      results[index] = answered[0]
    }
  }
}
