import Glibc
import KDNTier

/// A file whose sectors are volatile until they are synchronised.
// Safe because: one thread plays a whole simulation.
final class SimulatedFile: BlockFile, @unchecked Sendable {
  /// Where the last version of a sector is.
  private enum SectorState {
    static let durable: UInt64 = 0
    /// A synchronise that failed forgot it: seen by reads, and never made durable any more.
    static let forgotten = UInt64.max
  }

  let byteCount: Int
  let descriptor: Int32 = -1
  private(set) var name: String
  private unowned let disk: SimulatedDisk
  private unowned let directory: SimulatedDirectory
  /// What reads see.
  private let present: UnsafeMutableRawPointer
  /// What survives a loss of power.
  private let durable: UnsafeMutableRawPointer
  /// 0 for durable sectors, else the number of the write.
  private let states: UnsafeMutablePointer<UInt64>
  private var volatileSectors: [Int] = []
  private var synchronisesUnderWay = 0

  private let sectorBytes = SimulatedDisk.sectorBytes
  private var sectorCount: Int { byteCount / sectorBytes }

  init(_ name: String, byteCount: Int, disk: SimulatedDisk, directory: SimulatedDirectory) {
    self.name = name
    self.byteCount = byteCount
    self.disk = disk
    self.directory = directory
    let size = max(byteCount, diskBlockBytes)
    present = .allocate(byteCount: size, alignment: diskBlockBytes)
    durable = .allocate(byteCount: size, alignment: diskBlockBytes)
    memset(present, 0, size)
    memset(durable, 0, size)
    states = .allocate(capacity: size / SimulatedDisk.sectorBytes)
    states.initialize(repeating: 0, count: size / SimulatedDisk.sectorBytes)
  }

  deinit {
    present.deallocate()
    durable.deallocate()
    states.deallocate()
  }

  func take(name: String) { self.name = name }

  /// What reads see of `range`.
  func bytes(_ range: Range<Int>) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: present + range.lowerBound, count: range.count))
  }

  /// Whether anything would be lost with the power.
  var hasVolatileSectors: Bool { !volatileSectors.isEmpty }

  // MARK: Reading

  func read(at offset: Int, into pieces: [BlockSpan]) throws(DiskError) {
    try check("pread", offset, pieces)
    let shortOneIn = directory.faults.shortRead
    let isShort = shortOneIn > 0 && disk.random.isOne(in: shortOneIn)
    let fate = try disk.fate(failingOneIn: directory.faults.read)
    disk.note { "read \(directory.path)/\(name) at \(offset): \(fate)" }
    let total = pieces.reduce(0) { $0 + $1.byteCount }
    var left = fate == .done && !isShort ? total : disk.random.number(below: total)
    var position = offset
    for piece in pieces {
      let count = min(left, piece.byteCount)
      piece.base.copyMemory(from: present + position, byteCount: count)
      position += count
      left -= count
    }
    guard fate == .done else { throw directory.failure("pread", name, fate) }
    if isShort {
      directory.readFailures += 1
      throw DiskError(call: "pread", file: name, code: 0)
    }
    if directory.isDamaged(self, offset..<offset + total) {
      throw directory.failure("pread", name, .failed)
    }
  }

  // MARK: Writing

  func write(at offset: Int, from pieces: [BlockSpan]) throws(DiskError) {
    try check("pwrite", offset, pieces)
    let fate = try disk.fate(failingOneIn: directory.faults.write)
    disk.note {
      "write \(directory.path)/\(name) at \(offset) "
        + "+\(pieces.reduce(0) { $0 + $1.byteCount }): \(fate)"
    }
    put(at: offset, from: pieces, isWhole: fate == .done)
    guard fate == .done else { throw directory.failure("pwrite", name, fate) }
    directory.observer?(self, offset, pieces)
  }

  /// A write under way when a life ended: any of its sectors may be there.
  func tear(at offset: Int, from pieces: [BlockSpan]) {
    guard offset >= 0, offset + pieces.reduce(0, { $0 + $1.byteCount }) <= byteCount else { return }
    put(at: offset, from: pieces, isWhole: false)
    directory.observer?(self, offset, pieces)
  }

  private func put(at offset: Int, from pieces: [BlockSpan], isWhole: Bool) {
    let stamp = disk.nextStamp()
    var sector = offset / sectorBytes
    for piece in pieces {
      var source = UnsafeRawPointer(piece.base)
      let end = source + piece.byteCount
      while source < end {
        if isWhole || disk.random.isOne(in: 2) { put(sector, source, stamp) }
        sector += 1
        source += sectorBytes
      }
    }
    directory.repair(self, offset..<sector * sectorBytes)
  }

  private func put(_ sector: Int, _ source: UnsafeRawPointer, _ stamp: UInt64) {
    let place = sector * sectorBytes
    let state = states[sector]
    if state == SectorState.durable {
      volatileSectors.append(sector)
    } else if state != SectorState.forgotten, synchronisesUnderWay > 0 || disk.random.isOne(in: 2) {
      // The device may have written the version before at any time.
      (durable + place).copyMemory(from: present + place, byteCount: sectorBytes)
    }
    (present + place).copyMemory(from: source, byteCount: sectorBytes)
    states[sector] = stamp
  }

  // MARK: Making durable

  func synchronise() throws(DiskError) {
    let bound = disk.stamp
    beginSynchronise()
    try endSynchronise(through: bound)
  }

  func beginSynchronise() { synchronisesUnderWay += 1 }

  /// Makes the writes up to number `bound` durable, or fails and forgets them.
  func endSynchronise(through bound: UInt64) throws(DiskError) {
    synchronisesUnderWay -= 1
    let fate = try disk.fate(failingOneIn: directory.faults.synchronise)
    disk.note { "synchronise \(directory.path)/\(name): \(fate)" }
    var kept: [Int] = []
    for sector in volatileSectors {
      guard states[sector] <= bound, fate == .done || disk.random.isOne(in: 2) else {
        kept.append(sector)
        continue
      }
      settle(sector)
    }
    volatileSectors = kept
    guard fate == .done else {
      if fate == .failed { forget(through: bound) }
      throw directory.failure("fdatasync", name, fate)
    }
  }

  private func settle(_ sector: Int) {
    let place = sector * sectorBytes
    (durable + place).copyMemory(from: present + place, byteCount: sectorBytes)
    states[sector] = SectorState.durable
  }

  /// What a failed synchronise leaves: pages marked clean that never reached the device; some are
  /// seen for a while, some are gone at once.
  private func forget(through bound: UInt64) {
    var kept: [Int] = []
    for sector in volatileSectors {
      kept.append(sector)
      guard states[sector] <= bound else { continue }
      if disk.random.isOne(in: 2) {
        states[sector] = SectorState.forgotten
      } else {
        revert(sector)
        kept.removeLast()
      }
    }
    volatileSectors = kept
  }

  private func revert(_ sector: Int) {
    let place = sector * sectorBytes
    (present + place).copyMemory(from: durable + place, byteCount: sectorBytes)
    states[sector] = SectorState.durable
  }

  /// What a failed synchronise forgot is not seen by the next life; without power some of the
  /// other volatile sectors are there and some not.
  func endLife(losingPower: Bool) {
    synchronisesUnderWay = 0
    var kept: [Int] = []
    for sector in volatileSectors {
      if states[sector] == SectorState.forgotten {
        revert(sector)
      } else if !losingPower {
        kept.append(sector)
      } else if disk.random.isOne(in: 2) {
        settle(sector)
      } else {
        revert(sector)
      }
    }
    volatileSectors = kept
  }

  /// Turns a bit, as ageing devices do; nothing notices.
  func flip(bit: Int, ofByte place: Int) {
    for memory in [present, durable] {
      let byte = memory.load(fromByteOffset: place, as: UInt8.self)
      memory.storeBytes(of: byte ^ 1 << UInt8(bit), toByteOffset: place, as: UInt8.self)
    }
  }

  private func check(
    _ call: String, _ offset: Int, _ pieces: [BlockSpan]
  ) throws(DiskError) {
    let count = pieces.reduce(0) { $0 + $1.byteCount }
    guard offset >= 0, offset % diskBlockBytes == 0, offset + count <= byteCount, count > 0 else {
      disk.violate("\(call) of \(name) at \(offset) of \(count) bytes: it has \(byteCount)")
      throw DiskError(call: call, file: name, code: 22)
    }
  }
}
