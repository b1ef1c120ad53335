internal import DequeModule
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport

/// A value that is to be sent from where it lies.
final class RESPValue {
  /// Length in bytes.
  let byteCount: Int
  private var lease: Lease?

  /// Takes a right of its own to read what `hit` may be read by.
  init(_ hit: borrowing ReadLease) {
    byteCount = hit.lease.byteCount
    lease = hit.lease.block.lease()
  }

  /// Queues the bytes; the right to read them is kept until they are out.
  func send(over link: Link) {
    guard let lease = lease.take() else { preconditionFailure("a value is sent once") }
    unsafe link.sendBorrowed(
      UnsafeRawBufferPointer(start: lease.base, count: byteCount), endsMessage: true)
    link.keep(lease)
  }
}

/// A piece of a reply.
enum RESPPiece {
  case bytes([UInt8])
  case value(RESPValue)

  /// Length in bytes.
  var byteCount: Int {
    switch self {
    case .bytes(let bytes): bytes.count
    case .value(let value): value.byteCount
    }
  }
}

/// Replies in the order of their commands: what is ready waits for what was asked before it.
struct RESPReplies {
  private enum Entry {
    case piece(RESPPiece)
    /// A reply that comes later, by its number.
    case awaited(UInt64)
  }

  private var entries = Deque<Entry>()
  private var filled: [UInt64: [RESPPiece]] = [:]
  private var lastNumber: UInt64 = 0
  private var writer = ByteWriter(capacity: 256)
  /// Replies that are not ready.
  private(set) var awaitedCount = 0
  /// Bytes of ready replies that the link has not been given.
  private(set) var waitingBytes = 0

  /// Adds what is ready, behind all before.
  mutating func write(_ body: (inout ByteWriter) -> Void) { body(&writer) }

  /// Adds a value's bytes; what stands around them is written by `write`.
  mutating func add(_ value: RESPValue) {
    closeBytes()
    waitingBytes += value.byteCount
    entries.append(.piece(.value(value)))
  }

  /// Adds the pieces of a whole reply.
  mutating func add(_ pieces: [RESPPiece]) {
    for piece in pieces {
      switch piece {
      case .bytes(let bytes): writer.put(contentsOf: bytes)
      case .value(let value): add(value)
      }
    }
  }

  /// Takes a place for a reply that comes later.
  mutating func reserve() -> UInt64 {
    closeBytes()
    lastNumber += 1
    awaitedCount += 1
    entries.append(.awaited(lastNumber))
    return lastNumber
  }

  /// Fills a place that was taken.
  mutating func fill(_ number: UInt64, _ pieces: [RESPPiece]) {
    precondition(filled.updateValue(pieces, forKey: number) == nil, "a command has one reply")
    awaitedCount -= 1
    waitingBytes += pieces.reduce(0) { $0 + $1.byteCount }
  }

  /// Queues all that is ready and has nothing before it that is not.
  ///
  /// - Returns: bytes of values among it.
  mutating func send(over link: Link) -> Int {
    closeBytes()
    var valueBytes = 0
    while let entry = entries.first {
      switch entry {
      case .piece(let piece): valueBytes += send(piece, over: link)
      case .awaited(let number):
        guard let pieces = filled.removeValue(forKey: number) else { return valueBytes }
        for piece in pieces { valueBytes += send(piece, over: link) }
      }
      entries.removeFirst()
    }
    return valueBytes
  }

  private mutating func send(_ piece: RESPPiece, over link: Link) -> Int {
    waitingBytes -= piece.byteCount
    switch piece {
    case .bytes(let bytes):
      link.send(bytes, isUrgent: false)
      return 0
    case .value(let value):
      value.send(over: link)
      return value.byteCount
    }
  }

  private mutating func closeBytes() {
    guard !writer.bytes.isEmpty else { return }
    waitingBytes += writer.bytes.count
    entries.append(.piece(.bytes(writer.bytes)))
    writer = ByteWriter(capacity: 256)
  }
}
