internal import CKDN
internal import CPlatform
internal import Glibc
internal import KDNClient
internal import KDNCore

/// What is behind a `kdn_client`: a connection, used by one thread at a time.
final class ClientHandle: Sendable {
  // Safe because: the lock around it lets one thread at a time use it.
  private struct Held: @unchecked Sendable {
    let connection: Connection
  }

  private let held: Guarded<Held>
  private let forkCount = kdn_fork_count()
  let link: HeldText
  let linkAddress: HeldText
  let linkReason: HeldText

  init(_ connection: sending Connection) {
    link = HeldText(connection.link.kind.rawValue)
    linkAddress = HeldText(connection.link.address)
    linkReason = HeldText(connection.link.reason)
    held = Guarded(Held(connection: connection))
  }

  /// Whether this process made it; a child has nothing but a copy of its memory.
  var isInherited: Bool { forkCount != kdn_fork_count() }

  /// What a pointer from outside means.
  ///
  /// - Throws: `invalid` for NULL, `forked` for a handle of the parent's.
  static func behind(_ pointer: OpaquePointer?) throws(Failure) -> ClientHandle {
    guard let pointer = unsafe pointer else { throw .invalid("client is NULL") }
    let handle = unsafe Unmanaged<ClientHandle>.fromOpaque(UnsafeRawPointer(pointer))
      .takeUnretainedValue()
    try handle.checkProcess()
    return handle
  }

  /// - Throws: `forked` if a parent of this process made the handle.
  func checkProcess() throws(Failure) {
    guard !isInherited else {
      throw Failure(KDN_FORKED, "the client was made before a fork: connect anew")
    }
  }

  /// The handle for outside; `take` ends its life there.
  var pointer: OpaquePointer {
    unsafe OpaquePointer(Unmanaged.passRetained(self).toOpaque())
  }

  /// Takes a handle back from outside; nil for NULL and for a handle of the parent's, whose
  /// connection is none of this process's business.
  static func take(_ pointer: OpaquePointer?) -> ClientHandle? {
    guard let pointer = unsafe pointer else { return nil }
    let handle = unsafe Unmanaged<ClientHandle>.fromOpaque(UnsafeRawPointer(pointer))
    guard unsafe !handle.takeUnretainedValue().isInherited else { return nil }
    return unsafe handle.takeRetainedValue()
  }

  /// Uses the connection alone.
  ///
  /// - Throws: what `body` throws.
  func use<Result: Sendable>(
    _ body: (Connection) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let result = held.withLock { held in
      do throws(Failure) {
        return Swift.Result<Result, Failure>.success(try body(held.connection))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// Makes a request alone.
  ///
  /// - Throws: what became of it.
  func request<Result: Sendable>(
    _ body: (Connection) throws(ClientError) -> Result
  ) throws(Failure) -> Result {
    try use { (connection) throws(Failure) in
      do throws(ClientError) {
        return try body(connection)
      } catch {
        throw Failure(error)
      }
    }
  }
}

/// Text that stays at one place, for C.
// Safe because: it is written once and freed with the last reference.
@safe final class HeldText: @unchecked Sendable {
  let start: UnsafeMutablePointer<CChar>

  init(_ text: String) {
    let bytes = text.utf8.map { CChar(bitPattern: $0 == 0 ? 32 : $0) } + [0]
    unsafe start = .allocate(capacity: bytes.count)
    unsafe start.initialize(from: bytes, count: bytes.count)
  }

  deinit { unsafe start.deallocate() }
}
