internal import CIBVerbs

/// A one-sided transfer on its way: what is moved where, and what must stay until it is over.
final class RDMATransfer {
  /// Which way the bytes go.
  enum Direction {
    /// To the other side.
    case write
    /// From the other side.
    case read

    /// The library's operation.
    var code: ibv_wr_opcode {
      switch self {
      case .write: IBV_WR_RDMA_WRITE
      case .read: IBV_WR_RDMA_READ
      }
    }
  }

  let direction: Direction
  let remoteAddress: UInt64
  let remoteKey: UInt32
  /// The caller's name for it.
  let token: UInt64
  /// What is not yet posted.
  var chain: RDMAChain
  private let pieces: [RDMAPiece]
  /// What owns the memory.
  private let keeping: AnyObject?

  init(
    _ direction: Direction, _ pieces: [RDMAPiece], remoteAddress: UInt64, remoteKey: UInt32,
    token: UInt64, keeping: AnyObject?, chain: RDMAChain
  ) {
    self.direction = direction
    self.pieces = pieces
    self.remoteAddress = remoteAddress
    self.remoteKey = remoteKey
    self.token = token
    self.keeping = keeping
    self.chain = chain
  }

  /// A part of a piece as the device is told of it.
  func entry(_ part: RDMAChain.Part) -> ibv_sge {
    let piece = pieces[part.piece]
    return ibv_sge(
      addr: piece.address + UInt64(part.offset), length: UInt32(part.byteCount),
      lkey: piece.region.localKey)
  }
}

/// Something that waits for room in the send queue, or for credit.
enum RDMAOutgoing {
  /// Bytes of the stream.
  case bytes([UInt8])
  /// A transfer of which some work requests are not posted.
  case transfer(RDMATransfer)
}

/// Work requests that were posted together and end together.
struct RDMAInFlight {
  /// What they are for.
  enum Purpose {
    /// A message from this slot with so many bytes of the stream.
    case message(slot: Int, streamBytes: Int)
    /// Some of a transfer's; more follow.
    case part(RDMATransfer)
    /// A transfer's last.
    case transfer(RDMATransfer)
  }

  /// The number that their completion carries.
  let number: UInt64
  /// How many there are.
  let requests: Int
  let purpose: Purpose
  /// Whether the device has finished them.
  var isDone = false
}
