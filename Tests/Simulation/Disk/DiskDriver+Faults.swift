import KDNCore
import KDNTier

extension DiskDriver {
  /// Whether a device has failed since the life began, other than by losing power.
  var hasFailed: Bool {
    disk.directories.indices.contains { hasFailedReads($0) || hasFailedWrites($0) }
  }

  private func hasFailedReads(_ number: Int) -> Bool {
    disk.directories[number].readFailures > failuresBefore[number].read
  }

  private func hasFailedWrites(_ number: Int) -> Bool {
    disk.directories[number].writeFailures > failuresBefore[number].write
  }

  /// Whether a copy may be gone: its device failed in this life or altered it, or its room was
  /// needed for others.
  func isExcused(_ name: Name, _ copy: Copy, byQuota: Bool = true) -> Bool {
    if copy.isDamaged { return true }
    if !isPinned(name), scenario.mayReclaim || byQuota && isExcusedByQuota(name) { return true }
    guard hasFailed else { return false }
    guard let known = places.directories(of: copy) else { return true }
    return known.contains { hasFailedReads($0) || hasFailedWrites($0) && !copy.isPromised }
  }

  private func isPinned(_ name: Name) -> Bool {
    guard let end = model.pins[name] else { return false }
    return end > now && !hasFailed
  }

  /// Makes the first device fail for the rest of the life; the others must take all that comes.
  func failDevice() throws {
    let directory = disk.directories[0]
    guard disk.isPowered, let tier, !hasFailed else { return }
    let kind = random.number(below: 4)
    note("device-0 fails: \(["writes", "synchronises", "reads", "everything"][kind])")
    if kind == 0 || kind == 3 { directory.faults.write = 1 }
    if kind == 1 || kind == 3 { directory.faults.synchronise = 1 }
    if kind >= 2 { directory.faults.read = 1 }
    guard random.isOne(in: 2) else { return }
    for _ in 0..<6 {
      try operate()
      try work(steps: random.number(below: 7))
    }
    try settle()
    guard disk.isPowered, hasFailedWrites(0) else { return }
    // By now the tier knows.
    for _ in 0..<2 { try write(tier, mustWork: true) }
    try settle()
  }

  /// What a device could not read in this life may have been dropped for good.
  func doubtUnread() {
    let failed = disk.directories.indices.filter(hasFailedReads)
    guard !failed.isEmpty else { return }
    for copy in model.copies.values.joined() where copy.isPromised {
      let known = places.directories(of: copy)
      if known.map({ !$0.isDisjoint(with: failed) }) ?? true { copy.isPromised = false }
    }
  }

  /// Alters some sectors of segments, as ageing devices do.
  func decay() {
    guard scenario.damages > 0 else { return }
    for _ in 0..<random.number(below: scenario.damages + 1) {
      let directory = disk.directories[random.number(below: disk.directories.count)]
      let files = directory.files.filter { $0.name.hasPrefix("segment") }
      guard !files.isEmpty else { continue }
      let file = files[random.number(below: files.count)]
      let sectors = file.byteCount / SimulatedDisk.sectorBytes
      guard sectors > 0 else { continue }
      let sector = random.number(below: sectors)
      let isUnreadable = random.isOne(in: 4)
      note("\(file.name) decays in sector \(sector)\(isUnreadable ? ", unreadable" : "")")
      if isUnreadable {
        directory.damage(file, sector: sector)
      } else {
        file.flip(
          bit: random.number(below: 8),
          ofByte: sector * SimulatedDisk.sectorBytes + random.number(below: 512))
      }
      // Without its first block nothing can be told of a segment.
      let isWhole = isUnreadable || sector < diskBlockBytes / SimulatedDisk.sectorBytes
      for copy in model.copies.values.joined()
      where isWhole ? places.isIn(file, copy) : places.mayHold(copy, file, sector: sector) {
        copy.isDamaged = true
      }
    }
  }
}
