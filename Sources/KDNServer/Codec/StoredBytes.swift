internal import Dispatch
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNWire

/// What is stored under a key.
enum StoredBytes: Sendable {
  case found([UInt8])
  /// Not to be had now; asking again may help.
  case later
  case missing(MissCause)
}

extension Pool {
  /// How long a stored object may take to be read.
  private static var readSecondsMax: Int { 10 }

  /// Reads a stored profile from whichever tier has it; for background threads.
  func readProfile(_ hash: ChunkHash, in name: NamespaceName) -> StoredBytes {
    guard let namespace = try? namespace(name) else { return .later }
    return readStored(CodecProfileRequest.key(of: hash), in: namespace)
  }

  /// Reads a stored object from whichever tier has it, if it has at most `bytesMax` bytes, else it
  /// is missed as `overCredit`; for background threads.
  func readStored(
    _ key: ObjectKey, in namespace: Namespace, bytesMax: Int = .max
  ) -> StoredBytes {
    let done = DispatchSemaphore(value: 0)
    let fetch = fetch([key], in: namespace) { done.signal() }
    if let fetch, !fetch.isDone,
      done.wait(timeout: .now() + .seconds(Self.readSecondsMax)) == .timedOut
    {
      fetch.cancel()
      return .later
    }
    switch fetch?.take(key) ?? lookup(key, in: namespace) {
    case .hit(let hit):
      guard hit.object.byteCount <= bytesMax else { return .missing(.overCredit) }
      return .found(hit.lease.copied())
    case .miss(let cause):
      return cause == .notReady || cause == .overDeadline ? .later : .missing(cause)
    }
  }
}
