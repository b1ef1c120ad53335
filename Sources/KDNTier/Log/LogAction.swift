internal import KDNCore
internal import KDNMemory

/// What the log wants done, once its lock is free.
enum LogAction: Sendable {
  /// Have an engine do something, and hear how it ended.
  case submit(directory: Int, DiskWork, LogEvent)
  /// Call somebody back.
  case finish(@Sendable () -> Void)
  /// Tell the operator.
  case report(DiskEvent)
}

/// What has been done; holds on to the memory that took part.
enum LogEvent: Sendable {
  case segmentMade(directory: Int, ResultBox<any BlockFile>)
  case headerWritten(directory: Int, slot: Int, PageBuffer)
  case headerSynchronised(directory: Int, slot: Int)
  case recordWritten(sequence: UInt64, TierBytes?, PageBuffer)
  case synchronised(directory: Int, slot: Int, records: [UInt64])
  case footerWritten(directory: Int, slot: Int, PageBuffer)
  case footerSynchronised(directory: Int, slot: Int)
  case read(directory: Int, [PendingRead], [ReadBuffer])
  case victimFooterRead(directory: Int, PageBuffer)
  case victimRecordRead(directory: Int, DiskKey, RecordHeader, PageBuffer)
  case journalWritten(directory: Int, PageBuffer)
  case journalSynchronised(directory: Int)
  case segmentRead(directory: Int, slot: Int, ResultBox<SegmentReader.Outcome>)
  case fileRemoved(directory: Int)
  case checkpointTaken(directory: Int)
}

/// Where the bytes of one read go: all of the record into `buffer`, or its first block there and
/// the payload straight into the room.
struct ReadBuffer: Sendable {
  let buffer: PageBuffer
  let isInPlace: Bool
}

/// Carries the outcome of a `.run` to its completion.
final class ResultBox<Value: Sendable>: Sendable {
  private let value = Guarded<Value?>(nil)

  func put(_ result: Value) { value.withLock { $0 = result } }
  func take() -> Value? {
    value.withLock { value in
      defer { value = nil }
      return value
    }
  }
}
