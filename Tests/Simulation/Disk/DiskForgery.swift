import KDNCore
import KDNMemory
import KDNTier

/// Payloads of an attacker who writes objects that look like the log, to have a scan take them for
/// records of others.
struct DiskForgery {
  private static let forgedBytes = 100

  let disk: SimulatedDisk
  let universe: DiskUniverse

  /// Blocks of a segment as they are now, as one could store who reads the device; nil if none of
  /// the places chosen was ever written.
  func copyOfBlocks() -> [UInt8]? {
    let files = disk.directories.flatMap(\.files).filter { $0.name.hasPrefix("segment") }
    guard !files.isEmpty else { return nil }
    let file = files[disk.random.number(below: files.count)]
    let count = (1 + disk.random.number(below: 4)) * diskBlockBytes
    let last = (file.byteCount - count) / diskBlockBytes
    guard last >= 0 else { return nil }
    for _ in 0..<4 {
      // The front of a file is more likely to have been written.
      let limit = disk.random.number(below: last + 1) + 1
      let first = disk.random.number(below: limit) * diskBlockBytes
      let bytes = file.bytes(first..<first + count)
      if bytes[0] != 0 { return bytes }
    }
    return nil
  }

  /// Records of another tenant, right in everything but the segment's nonce; nil if there is no
  /// segment.
  ///
  /// Each names the very block where it will come to lie if the object is placed next.
  func records() -> [UInt8]? {
    guard let (file, incarnation) = newestSegment() else { return nil }
    let blocks = file.byteCount / diskBlockBytes
    let used = (1..<blocks).last { file.bytes(Self.start(of: $0))[0] != 0 } ?? 0
    let count = 1 + disk.random.number(below: 4)
    guard used + count + 2 < blocks, let name = universe.names.randomElement(using: &disk.random)
    else { return nil }
    // The object begins behind its header, in the block after the last one used.
    var bytes = [UInt8](repeating: 7, count: diskBlockBytes - RecordHeader.byteCount)
    for number in 0..<count {
      bytes += record(name, incarnation, block: used + 2 + number)
    }
    return bytes
  }

  private func record(
    _ name: DiskUniverse.Name, _ incarnation: UInt64, block: Int
  ) -> [UInt8] {
    let payload = [UInt8](repeating: UInt8(block & 255), count: Self.forgedBytes)
    let header = RecordHeader(
      facts: ObjectFacts(
        namespace: universe.namespaces[name.tenant], generation: 0,
        key: universe.keys[name.number], byteCount: payload.count,
        checksum: Checksum(of: payload), storedAtMilliseconds: 0),
      incarnation: incarnation, sequence: 1 << 30, blockIndex: block, isPaged: false)
    let page = PageBuffer(byteCount: diskBlockBytes)
    header.write(
      to: UnsafeMutableRawBufferPointer(rebasing: page.bytes[0..<RecordHeader.byteCount]), nonce: 0)
    (page.base + RecordHeader.inlinePayloadOffset).copyMemory(
      from: payload, byteCount: payload.count)
    return Array(page.bytes)
  }

  private func newestSegment() -> (file: SimulatedFile, incarnation: UInt64)? {
    var newest: (file: SimulatedFile, incarnation: UInt64)?
    for file in disk.directories.flatMap(\.files) where file.name.hasPrefix("segment") {
      guard file.byteCount > diskBlockBytes else { continue }
      let incarnation = file.bytes(Self.start(of: 0)).withUnsafeBytes {
        try? SegmentHeader(reading: $0).incarnation
      }
      guard let incarnation, incarnation > newest?.incarnation ?? 0 else { continue }
      newest = (file, incarnation)
    }
    return newest
  }

  private static func start(of block: Int) -> Range<Int> {
    block * diskBlockBytes..<(block + 1) * diskBlockBytes
  }
}
