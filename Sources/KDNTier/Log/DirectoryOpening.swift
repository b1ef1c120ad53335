internal import KDNCore
internal import KDNMemory

/// Opens a directory of the log, or makes it; blocks.
struct DirectoryOpening {
  private let storage: any BlockDirectory
  private let configuration: DiskDirectoryConfiguration
  private let limits: DiskConfiguration
  private let wall: UInt64
  private let names: [String: Int]

  private init(
    _ configuration: DiskDirectoryConfiguration, _ limits: DiskConfiguration, wall: UInt64
  ) throws(DiskError) {
    storage = configuration.directory
    self.configuration = configuration
    self.limits = limits
    self.wall = wall
    names = Dictionary(
      try storage.list().map { ($0.name, $0.byteCount) }, uniquingKeysWith: { first, _ in first })
  }

  /// Everything but the segments' contents: superblock, journals, use counts, files.
  ///
  /// - Throws: what the device refused, a format that is not ours, a capacity that is too small.
  static func open(
    _ configuration: DiskDirectoryConfiguration, _ limits: DiskConfiguration, wall: UInt64
  ) throws(DiskTierFault) -> (state: DirectoryState, entries: [JournalEntry]) {
    let path = configuration.directory.path
    do {
      return try Self(configuration, limits, wall: wall).open()
    } catch let error as DiskError {
      throw .device(path: path, error)
    } catch let fault as FieldFault {
      throw fault.field == "capacity" ? .capacity(path: path, fault) : .format(path: path, fault)
    } catch {
      preconditionFailure("no other errors are thrown: \(error)")
    }
  }

  private func open() throws -> (state: DirectoryState, entries: [JournalEntry]) {
    let superblock = try superblock()
    let count = DirectoryLayout.segmentsMax(
      capacityBytes: configuration.capacityBytes, segmentBytes: superblock.segmentBytes,
      journalBytes: superblock.journalBytes)
    guard count >= DirectoryLayout.segmentsMin else {
      let least =
        (DirectoryLayout.segmentsMin + 1) * superblock.segmentBytes + 2 * superblock.journalBytes
      throw FieldFault(
        "capacity", value: configuration.capacityBytes, limit: least,
        "too small for \(DirectoryLayout.segmentsMin) segments of \(superblock.segmentBytes)")
    }
    let files = try journalFiles(superblock)
    let journal = try JournalReader(files: files, directory: superblock.directoryID).read()
    var state = DirectoryState(
      configuration, superblock, segmentsMax: count, journal: journal.state)
    try openSegments(&state)
    state.isDistrusted = journal.isDamaged && !state.unread.isEmpty
    state.useCounts = try useCounts(superblock)
    return (state, journal.entries)
  }

  // MARK: Superblock

  private func superblock() throws -> Superblock {
    guard names[DirectoryLayout.superblock] != nil else { return try make() }
    let file = try storage.open(DirectoryLayout.superblock)
    let buffer = PageBuffer(byteCount: Superblock.byteCount)
    try file.read(at: 0, into: [buffer.span])
    return try unsafe Superblock(reading: UnsafeRawBufferPointer(buffer.bytes))
  }

  /// Makes a new directory; the superblock comes last, so that what a crash leaves half made is
  /// made again.
  private func make() throws -> Superblock {
    guard !names.keys.contains(where: { DirectoryLayout.segmentNumber($0) != nil }) else {
      throw FieldFault("superblock", value: 0, limit: 1, "is missing, and segments are here")
    }
    for name in DirectoryLayout.journals + [DirectoryLayout.superblockDraft] {
      try storage.remove(name)
    }
    let superblock = Superblock(
      directoryID: .random(), segmentBytes: limits.segmentBytes,
      journalBytes: limits.journalBytes, createdAtMilliseconds: wall)
    let least = DirectoryLayout.segmentsMax(
      capacityBytes: configuration.capacityBytes, segmentBytes: limits.segmentBytes,
      journalBytes: limits.journalBytes)
    guard least >= DirectoryLayout.segmentsMin else { return superblock }
    for name in DirectoryLayout.journals {
      _ = try storage.create(name, byteCount: superblock.journalBytes)
    }
    let file = try storage.create(
      DirectoryLayout.superblockDraft, byteCount: Superblock.byteCount)
    let buffer = PageBuffer(byteCount: Superblock.byteCount)
    unsafe superblock.write(to: buffer.bytes)
    try file.write(at: 0, from: [buffer.span])
    try file.synchronise()
    try storage.rename(DirectoryLayout.superblockDraft, to: DirectoryLayout.superblock)
    return superblock
  }

  // MARK: Files

  private func journalFiles(_ superblock: Superblock) throws(DiskError) -> [any BlockFile] {
    let present = try Set(storage.list().map(\.name))
    var files: [any BlockFile] = []
    for name in DirectoryLayout.journals {
      files.append(
        present.contains(name)
          ? try storage.open(name)
          : try storage.create(name, byteCount: superblock.journalBytes))
    }
    return files
  }

  private func openSegments(_ state: inout DirectoryState) throws(DiskError) {
    let numbers = names.keys.compactMap(DirectoryLayout.segmentNumber).sorted()
    for number in numbers {
      let name = DirectoryLayout.segmentName(number)
      state.nextFileNumber = number + 1
      guard let byteCount = names[name], byteCount >= SegmentHeader.segmentBytesRange.lowerBound,
        byteCount % diskBlockBytes == 0
      else {
        try storage.remove(name)
        continue
      }
      state.unread.append(state.slots.count)
      state.slots.append(SegmentSlot(file: try storage.open(name)))
      state.fileCount += 1
    }
  }

  /// What the last clean stop left; used once.
  private func useCounts(_ superblock: Superblock) throws(DiskError) -> [UInt64: UInt32] {
    try storage.remove(DirectoryLayout.checkpointDraft)
    guard let byteCount = names[DirectoryLayout.checkpoint] else { return [:] }
    let limit = DirectoryLayout.checkpointBytesMax(capacityBytes: configuration.capacityBytes)
    var counts: [UInt64: UInt32] = [:]
    if byteCount > 0, byteCount <= limit, byteCount % diskBlockBytes == 0 {
      let file = try storage.open(DirectoryLayout.checkpoint)
      let buffer = PageBuffer(byteCount: byteCount)
      try file.read(at: 0, into: [buffer.span])
      let checkpoint = try? unsafe Checkpoint(
        reading: UnsafeRawBufferPointer(buffer.bytes), directoryID: superblock.directoryID)
      for entry in checkpoint?.entries ?? [] { counts[entry.sequence] = entry.uses }
    }
    try storage.remove(DirectoryLayout.checkpoint)
    return counts
  }
}

/// Reads the newer of two journals.
struct JournalReader {
  let files: [any BlockFile]
  let directory: DirectoryID

  /// What the journals say.
  struct Reading {
    var state: JournalState
    var entries: [JournalEntry] = []
    /// Something that was written and durable cannot be read any more.
    var isDamaged = false
  }

  /// Reads it, or begins the first one if neither was ever begun.
  func read() throws(DiskError) -> Reading {
    let headers = [try header(of: files[0]), try header(of: files[1])]
    guard let newest = headers.compactMap(\.epoch).max(),
      let active = headers.firstIndex(where: { $0.epoch == newest })
    else { return try begin() }
    var reading = try frames(of: active, epoch: newest)
    if case .damaged = headers[1 - active] {
      // Either the switch to that file did not end, or its header was lost since. Its frames were
      // durable before the header was begun, so in both cases it is the journal that counts.
      let other = try frames(of: 1 - active, epoch: newest + 1)
      guard other.state.nextIndex > 0 else {
        reading.isDamaged = true
        reading.state.nextBlock = reading.state.blockCount
        return reading
      }
      try write(JournalHeader(epoch: newest + 1, directoryID: directory), to: files[1 - active])
      reading = Reading(
        state: other.state, entries: reading.entries + other.entries,
        isDamaged: reading.isDamaged || other.isDamaged)
    }
    return reading
  }

  private func write(_ header: JournalHeader, to file: any BlockFile) throws(DiskError) {
    let buffer = PageBuffer(byteCount: JournalHeader.byteCount)
    unsafe header.write(to: buffer.bytes)
    try file.write(at: 0, from: [buffer.span])
    try file.synchronise()
  }

  private func frames(of number: Int, epoch: UInt64) throws(DiskError) -> Reading {
    var state = JournalState(files: files)
    state.active = number
    state.epoch = epoch
    // What a killed process wrote may still be in the device's cache only: nothing is believed, and
    // nothing written behind it, before it is durable.
    try files[number].synchronise()
    let buffer = PageBuffer(byteCount: files[number].byteCount)
    try files[number].read(at: 0, into: [buffer.span])
    var reading = Reading(state: state)
    readFrames(in: buffer, into: &reading)
    return reading
  }

  private func readFrames(in buffer: PageBuffer, into reading: inout Reading) {
    var start = diskBlockBytes
    while start < buffer.byteCount, let frame = frame(in: buffer, at: start, reading.state) {
      reading.entries += frame.frame.entries
      reading.state.nextIndex += 1
      start += frame.byteCount
    }
    reading.state.nextBlock = start / diskBlockBytes
    // A frame is begun only when the one before it is durable: one that stands behind something
    // unreadable tells that what was there has been lost since.
    reading.isDamaged = stride(from: start, to: buffer.byteCount, by: diskBlockBytes).contains {
      hasFrame(in: buffer, at: $0, reading.state)
    }
    // What is left of the damaged file must not be taken for newer frames: begin the other one.
    if reading.isDamaged { reading.state.nextBlock = reading.state.blockCount }
  }

  private func hasFrame(in buffer: PageBuffer, at start: Int, _ state: JournalState) -> Bool {
    let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer.bytes[start...])
    let index = unsafe UInt64(
      littleEndian: rest.loadUnaligned(fromByteOffset: JournalFrame.indexOffset, as: UInt64.self))
    guard index > state.nextIndex else { return false }
    return (try? unsafe JournalFrame.read(rest, epoch: state.epoch, index: index)) != nil
  }

  private func frame(
    in buffer: PageBuffer, at start: Int, _ state: JournalState
  ) -> (frame: JournalFrame, byteCount: Int)? {
    let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer.bytes[start...])
    return try? unsafe JournalFrame.read(rest, epoch: state.epoch, index: state.nextIndex)
  }

  /// What stands at the beginning of a journal file.
  private enum Header {
    case begun(UInt64)
    case never
    case damaged

    var epoch: UInt64? {
      if case .begun(let epoch) = self { return epoch }
      return nil
    }
  }

  private func header(of file: any BlockFile) throws(DiskError) -> Header {
    let buffer = PageBuffer(byteCount: JournalHeader.byteCount)
    try file.read(at: 0, into: [buffer.span])
    let bytes = unsafe UnsafeRawBufferPointer(buffer.bytes)
    if let header = try? unsafe JournalHeader(reading: bytes), header.directoryID == directory {
      return .begun(header.epoch)
    }
    return unsafe bytes.allSatisfy { $0 == 0 } ? .never : .damaged
  }

  private func begin() throws(DiskError) -> Reading {
    try write(JournalHeader(epoch: 1, directoryID: directory), to: files[0])
    // Where segments are here already, what was purged from them cannot be told any more.
    return Reading(state: JournalState(files: files), isDamaged: true)
  }
}
