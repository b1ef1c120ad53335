/// What the disk tier takes of `ram`, all of it charged at start.
struct DiskMemory: Equatable {
  /// Room for reads when the arena is full; an arena of its own.
  let stagingBytes: Int
  /// Most objects that the tier may know of.
  let objectsMax: Int
  /// Largest object that is copied to a new segment only because it is hot.
  let reinsertedBytesMax: Int
  /// Bytes of the index at its largest, and of the blocks that I/O goes through.
  let tierBytes: Int

  /// Bytes of index per object: name, place, and cells of tables that have just doubled.
  static let bytesPerObject = 512
  /// Objects of this size on average fill index and disk at the same time.
  private static let meanObjectBytes = 768 << 10
  private static let indexBytesMin = 4 << 20
  /// Blocks that one read or write goes through: the largest object that is not page-aligned, with
  /// its header.
  private static let bounceBytes = 72 << 10
  private static let reinsertedBytesMost = 32 << 20

  /// Divides a part of `memoryBytes`, never more than about a third.
  init(_ disk: DiskSettings, memoryBytes: Int) {
    guard disk.isWanted else {
      (stagingBytes, objectsMax, reinsertedBytesMax, tierBytes) = (0, 0, 0, 0)
      return
    }
    let capacity = disk.places.reduce(0) { $0 + $1.capacity.bytes }
    let wanted = max(capacity / Self.meanObjectBytes * Self.bytesPerObject, Self.indexBytesMin)
    let indexBytes = min(memoryBytes / 8, wanted)
    stagingBytes = min(disk.staging.bytes, memoryBytes / 8)
    objectsMax = indexBytes / Self.bytesPerObject
    reinsertedBytesMax = min(
      Self.reinsertedBytesMost, disk.segment.bytes / 8, memoryBytes / 32 / disk.places.count)
    let perPlace = reinsertedBytesMax + 2 * disk.depth * Self.bounceBytes
    tierBytes = indexBytes + disk.places.count * perPlace
  }
}
