internal import Dispatch
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNWire

/// What is stored under a profile's hash.
enum StoredProfile: Sendable {
  case found([UInt8])
  /// Not to be had now; asking again may help.
  case later
  case missing(MissCause)
}

extension Pool {
  /// How long a stored profile may take to be read.
  private static var readSecondsMax: Int { 10 }

  /// Reads a stored profile from whichever tier has it; for background threads.
  func readProfile(_ hash: ChunkHash, in name: NamespaceName) -> StoredProfile {
    guard let namespace = try? namespace(name) else { return .later }
    let key = CodecProfileRequest.key(of: hash)
    let done = DispatchSemaphore(value: 0)
    let fetch = fetch([key], in: namespace) { done.signal() }
    if let fetch, !fetch.isDone,
      done.wait(timeout: .now() + .seconds(Self.readSecondsMax)) == .timedOut
    {
      fetch.cancel()
      return .later
    }
    switch fetch?.take(key) ?? lookup(key, in: namespace) {
    case .hit(let hit): return .found(hit.lease.copied())
    case .miss(let cause):
      return cause == .notReady || cause == .overDeadline ? .later : .missing(cause)
    }
  }
}
