import KDNCore
import KDNTier

/// Where on the devices the bytes of objects lie, seen by watching all writes: a record's payload
/// begins 512 or 4096 bytes behind a block's beginning.
final class DiskPlaces {
  struct Place: Hashable {
    let directory: Int
    let file: ObjectIdentifier
    /// The record's bytes in the file, its header among them.
    let bytes: Range<Int>
  }

  private static let markBytes = 16
  private var copies: [Mark: DiskModel.Copy] = [:]
  private(set) var places: [ObjectIdentifier: Set<Place>] = [:]
  private var directories = 0

  private struct Mark: Hashable {
    let first: UInt64
    let second: UInt64

    init(_ base: UnsafeRawPointer) {
      first = base.loadUnaligned(as: UInt64.self)
      second = base.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    }
  }

  func watch(_ directory: SimulatedDirectory) {
    let number = directories
    directories += 1
    directory.observer = { [unowned self] file, offset, pieces in
      see(number, file, offset, pieces)
    }
  }

  /// Will know the copy's bytes when they are written; false if they are too few to be known.
  func add(_ copy: DiskModel.Copy, _ content: DiskContent) {
    guard copy.facts.byteCount >= Self.markBytes else { return }
    let mark = content.withBytes(Self.markBytes) { $0.baseAddress.map { Mark($0) } }
    guard let mark else { return }
    copies[mark] = copy
  }

  /// Devices that have had the copy's bytes; nil if that is not known.
  func directories(of copy: DiskModel.Copy) -> Set<Int>? {
    places[ObjectIdentifier(copy)].map { Set($0.map(\.directory)) }
  }

  /// Whether a sector belongs to a record of the copy, or that is not known.
  func mayHold(_ copy: DiskModel.Copy, _ file: SimulatedFile, sector: Int) -> Bool {
    guard let known = places[ObjectIdentifier(copy)] else { return true }
    return known.contains {
      $0.file == ObjectIdentifier(file) && $0.bytes.contains(sector * SimulatedDisk.sectorBytes)
    }
  }

  /// Whether the file has had the copy's bytes, or that is not known.
  func isIn(_ file: SimulatedFile, _ copy: DiskModel.Copy) -> Bool {
    guard let known = places[ObjectIdentifier(copy)] else { return true }
    return known.contains { $0.file == ObjectIdentifier(file) }
  }

  private func see(_ directory: Int, _ file: SimulatedFile, _ offset: Int, _ pieces: [BlockSpan]) {
    var start = offset
    for piece in pieces {
      for block in stride(from: 0, to: piece.byteCount, by: diskBlockBytes) {
        look(
          piece.base + block, header: start + block - diskBlockBytes, directory, file, large: true)
        look(
          piece.base + block + SimulatedDisk.sectorBytes, header: start + block, directory, file,
          large: false)
      }
      start += piece.byteCount
    }
  }

  private func look(
    _ base: UnsafeRawPointer, header: Int, _ directory: Int, _ file: SimulatedFile, large: Bool
  ) {
    guard header >= 0, let copy = copies[Mark(base)] else { return }
    let before = large ? diskBlockBytes : SimulatedDisk.sectorBytes
    let end = header + before + copy.facts.byteCount
    places[ObjectIdentifier(copy), default: []].insert(
      Place(directory: directory, file: ObjectIdentifier(file), bytes: header..<end))
  }
}
