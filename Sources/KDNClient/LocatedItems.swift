internal import KDNCore
internal import KDNMemory
internal import KDNWire

/// What a GET in place answered: where each hit lies in memory that is mapped here.
// Safe because: it reads only places inside views that it keeps.
@safe struct LocatedItems {
  /// One per item.
  let descriptors: [GetDescriptor]
  /// Where each hit lies; nil for a miss, and where its slab could not be mapped.
  let places: [InPlaceResult.Place?]
  /// The lease; 0 if there was no hit.
  let lease: UInt64
  /// When the lease ends by itself.
  let expiresAt: Instant

  /// Bytes that are copied at once: few enough to be in the cache still when they are checked.
  private static let pieceBytes = 512 << 10

  /// Whether the item is a hit whose slab could not be mapped.
  func isUnmapped(_ index: Int) -> Bool {
    descriptors[index].miss == nil && places[index] == nil
  }

  /// Puts the result together.
  func result(_ results: [GetResult], _ life: ConnectionLife) -> InPlaceResult {
    // A hit whose slab could not be mapped cannot be read.
    let readable = zip(results, places).map { result, place in
      place == nil && result.bytes > 0 ? GetResult.miss(.notReady) : result
    }
    return InPlaceResult(
      leaseID: lease, expiresAt: expiresAt, results: readable, places: places, life: life)
  }

  /// Takes the checksum of a hit where it lies, and says whether it is the right one.
  func verify(
    _ index: Int, _ selection: GetRequest.Selection, _ checksum: inout StreamingChecksum
  ) -> GetResult {
    let descriptor = descriptors[index]
    if let miss = descriptor.miss { return .miss(miss) }
    guard let place = places[index] else { return .miss(.notReady) }
    checksum.reset()
    for extent in place.extents {
      unsafe checksum.update(UnsafeRawBufferPointer(rebasing: place.view.bytes[extent]))
    }
    guard checksum.digest() == descriptor.sentChecksum else { return .miss(.corrupt) }
    return GetResult(hit: descriptor)
  }

  /// Copies a hit to `buffer`; with `verifies` the copy is checked.
  func copy(
    _ index: Int, to buffer: UnsafeMutableRawBufferPointer, verifies: Bool,
    _ checksum: inout StreamingChecksum, progress: ((Int, Int) -> Void)?
  ) -> GetResult {
    let descriptor = descriptors[index]
    if let miss = descriptor.miss { return .miss(miss) }
    guard let place = places[index] else { return .miss(.notReady) }
    guard descriptor.sentBytes <= buffer.count else {
      return .noRoom(bytes: descriptor.sentBytes)
    }
    checksum.reset()
    var done = 0
    for extent in place.extents {
      var position = extent.lowerBound
      while position < extent.upperBound {
        let count = min(Self.pieceBytes, extent.upperBound - position)
        let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
        unsafe target.copyMemory(
          from: UnsafeRawBufferPointer(rebasing: place.view.bytes[position..<position + count]))
        if verifies { unsafe checksum.update(UnsafeRawBufferPointer(target)) }
        position += count
        done += count
        progress?(done, descriptor.sentBytes)
      }
    }
    guard !verifies || checksum.digest() == descriptor.sentChecksum else { return .miss(.corrupt) }
    return GetResult(hit: descriptor)
  }
}
