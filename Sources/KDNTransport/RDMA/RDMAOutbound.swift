internal import KDNMemory

/// What waits to go out over a queue pair, or a lease that waits for what stands before it.
@safe enum RDMAOutbound: ~Copyable {
  /// Bytes of a message that the queue owns.
  case bytes([UInt8], endsMessage: Bool)
  /// Bytes of a message in place, kept alive by a later `keep`.
  case borrowed(UnsafeRawBufferPointer, endsMessage: Bool)
  /// Dropped when everything before it has been copied or given to the device.
  case keep(Lease)
  /// A WRITE, in order with the messages.
  case write(RDMAWrite)

  /// Whether it is a WRITE.
  var isWrite: Bool {
    switch self {
    case .write: true
    case .bytes: false
    case .borrowed: false
    case .keep: false
    }
  }

  /// How many bytes of a message it has.
  var byteCount: Int {
    switch self {
    case .bytes(let bytes, _): bytes.count
    case .borrowed(let bytes, _): bytes.count
    case .keep: 0
    case .write: 0
    }
  }

  /// A copy of at most `max` bytes of a message from `offset` on, and whether the message ends with
  /// this entry; nil if it is no part of a message.
  func bytes(from offset: Int, max limit: Int) -> (bytes: [UInt8]?, endsMessage: Bool) {
    switch self {
    case .bytes(let bytes, let ends):
      let isAll = offset == 0 && bytes.count <= limit
      return (isAll ? bytes : Array(bytes[offset...].prefix(limit)), ends)
    case .borrowed(let bytes, let ends):
      return unsafe (Array(UnsafeRawBufferPointer(rebasing: bytes[offset...].prefix(limit))), ends)
    case .keep: return (nil, false)
    case .write: return (nil, false)
    }
  }
}

/// A chain of WRITEs to memory of the other side, one behind the other.
struct RDMAWrite {
  /// Most pieces in one chain.
  private static let piecesMax = 256

  /// Where the first byte goes.
  let address: UInt64
  /// The other side's key to that memory.
  let key: UInt32
  /// Keeps the bytes.
  let owner: LeaseOwner
  /// What is written.
  private(set) var pieces: [RDMAPiece] = []
  /// How much is written.
  private(set) var byteCount = 0

  init(address: UInt64, key: UInt32, owner: LeaseOwner) {
    self.address = address
    self.key = key
    self.owner = owner
  }

  mutating func append(_ piece: RDMAPiece) {
    pieces.append(piece)
    byteCount += piece.byteCount
  }

  /// Whether nothing more should be added.
  func isFull(of bytesMax: Int) -> Bool {
    byteCount >= bytesMax || pieces.count == Self.piecesMax
  }

  /// An empty chain that continues behind this one.
  var next: RDMAWrite {
    RDMAWrite(address: address &+ UInt64(byteCount), key: key, owner: owner)
  }
}

/// A READ of memory of the other side.
struct RDMARead {
  /// What is filled.
  let piece: RDMAPiece
  /// Where the first byte comes from.
  let address: UInt64
  /// The other side's key to that memory.
  let key: UInt32
  /// Keeps what is filled.
  let owner: AnyObject
  /// Told how many bytes have come.
  let arrived: (Int) -> Void
}

/// A lease that several WRITEs share.
final class LeaseOwner {
  private let lease: Lease

  init(_ lease: consuming Lease) { self.lease = lease }
}
