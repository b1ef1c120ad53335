import KDNTier

/// A directory on a simulated device, with a cap that its files must never be over.
// Safe because: one thread plays a whole simulation.
final class SimulatedDirectory: BlockDirectory, @unchecked Sendable {
  /// Is told of each write.
  typealias Observer = (SimulatedFile, _ offset: Int, [BlockSpan]) -> Void

  let path: String
  let capacityBytes: Int
  var faults = DiskFaults.none
  /// Failures so far, without those for want of power.
  var readFailures = 0
  var writeFailures = 0
  var observer: Observer?
  private unowned let disk: SimulatedDisk
  private(set) var files: [SimulatedFile] = []
  private var damages: [(file: ObjectIdentifier, sector: Int)] = []

  init(disk: SimulatedDisk, path: String, capacityBytes: Int) {
    self.disk = disk
    self.path = path
    self.capacityBytes = capacityBytes
  }

  var allocatedBytes: Int { files.reduce(0) { $0 + $1.byteCount } }

  func file(_ name: String) -> SimulatedFile? { files.first { $0.name == name } }

  func list() throws(DiskError) -> [(name: String, byteCount: Int)] {
    let fate = try disk.fate(failingOneIn: faults.read)
    guard fate == .done else { throw failure("pread", "", fate) }
    return files.shuffled(using: &disk.random).map { ($0.name, $0.byteCount) }
  }

  func open(_ name: String) throws(DiskError) -> any BlockFile {
    let fate = try disk.fate(failingOneIn: faults.read)
    guard fate == .done else { throw failure("pread", name, fate) }
    guard let file = file(name) else { throw DiskError(call: "open", file: name, code: 2) }
    return file
  }

  func create(_ name: String, byteCount: Int) throws(DiskError) -> any BlockFile {
    let fate = try disk.fate(failingOneIn: faults.create)
    disk.note { "create \(path)/\(name) of \(byteCount) bytes: \(fate)" }
    if byteCount <= 0 || byteCount % diskBlockBytes != 0 {
      disk.violate("create \(name) of \(byteCount) bytes: not whole blocks")
    }
    guard file(name) == nil else { throw DiskError(call: "open", file: name, code: 17) }
    guard fate != .failed else {
      writeFailures += 1
      throw DiskError(call: "fallocate", file: name, code: 28)
    }
    var size = byteCount
    if fate == .interrupted {
      // The name may be there before all of the blocks are.
      guard disk.random.isOne(in: 2) else { throw failure("open", name, fate) }
      size = disk.random.number(below: byteCount / diskBlockBytes + 1) * diskBlockBytes
    }
    let file = SimulatedFile(name, byteCount: size, disk: disk, directory: self)
    files.append(file)
    checkCap()
    guard fate == .done else { throw failure("fallocate", name, fate) }
    return file
  }

  func remove(_ name: String) throws(DiskError) {
    let fate = try disk.fate(failingOneIn: faults.write)
    disk.note { "remove \(path)/\(name): \(fate)" }
    let isDone = fate == .done || fate == .interrupted && disk.random.isOne(in: 2)
    if isDone { files.removeAll { $0.name == name } }
    guard fate == .done else { throw failure("unlink", name, fate) }
  }

  func rename(_ name: String, to other: String) throws(DiskError) {
    let fate = try disk.fate(failingOneIn: faults.write)
    disk.note { "rename \(path)/\(name) to \(other): \(fate)" }
    guard let file = file(name) else { throw DiskError(call: "rename", file: name, code: 2) }
    if fate == .done || fate == .interrupted && disk.random.isOne(in: 2) {
      files.removeAll { $0.name == other }
      file.take(name: other)
    }
    guard fate == .done else { throw failure("rename", name, fate) }
  }

  func endLife(losingPower: Bool) {
    for file in files { file.endLife(losingPower: losingPower) }
  }

  // MARK: Damage at rest

  /// Makes a sector unreadable until it is written again.
  func damage(_ file: SimulatedFile, sector: Int) {
    damages.append((ObjectIdentifier(file), sector))
  }

  func isDamaged(_ file: SimulatedFile, _ range: Range<Int>) -> Bool {
    guard !damages.isEmpty else { return false }
    return damages.contains {
      $0.file == ObjectIdentifier(file) && range.contains($0.sector * SimulatedDisk.sectorBytes)
    }
  }

  func repair(_ file: SimulatedFile, _ range: Range<Int>) {
    guard !damages.isEmpty else { return }
    damages.removeAll {
      $0.file == ObjectIdentifier(file) && range.contains($0.sector * SimulatedDisk.sectorBytes)
    }
  }

  private func checkCap() {
    guard allocatedBytes > capacityBytes else { return }
    disk.violate("\(path) takes \(allocatedBytes) bytes of \(capacityBytes)")
  }

  /// An error, and the count of it.
  func failure(_ call: String, _ name: String, _ fate: SimulatedDisk.Fate) -> DiskError {
    if fate == .failed, call == "pread" { readFailures += 1 }
    if fate == .failed, call != "pread" { writeFailures += 1 }
    return DiskError(call: call, file: name, code: SimulatedDisk.inputOutputError)
  }
}
