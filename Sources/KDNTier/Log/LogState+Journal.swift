internal import KDNCore
internal import KDNMemory

extension LogState {
  /// Takes entries in and writes them to all journals; nobody waits.
  mutating func remember(_ entries: [JournalEntry]) { remember(entries, completion: nil) }

  /// Takes entries in and writes them to all journals; `completion` hears whether they are durable
  /// in every directory that still works, and in one at least.
  mutating func remember(
    _ entries: [JournalEntry], completion: (@Sendable (Bool) -> Void)?
  ) {
    for entry in entries { _ = tenants.apply(entry) }
    let targets = working
    hasForgotten = hasForgotten || targets.isEmpty && !entries.isEmpty
    if let completion {
      guard !targets.isEmpty else { return finish { completion(false) } }
      tickets[nextTicket] = JournalTicket(
        left: targets.count, isWritten: false, completion: completion)
    }
    for directory in targets {
      directories[directory].journal.pending += entries
      if completion != nil { directories[directory].journal.pendingTickets.append(nextTicket) }
    }
    nextTicket += 1
    for directory in targets { pumpJournal(directory) }
  }

  /// Whether everything that was taken in is durable, in all directories that work.
  var isJournalDurable: Bool {
    !hasForgotten
      && working.allSatisfy {
        directories[$0].journal.step == .idle && !directories[$0].journal.isBehind
      }
  }

  /// Directories whose journals are written.
  private var working: [Int] {
    directories.indices.filter {
      directories[$0].phase == .serving || directories[$0].phase == .recovering
    }
  }

  /// Tells of a durable record once the journal entries are durable that were taken in before: an
  /// object is worth nothing without its tenant's generation and its layout.
  mutating func whenJournalIsDurable(
    _ completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    guard !hasForgotten else { return finish { completion(.failure(.failed)) } }
    let working = working
    for directory in working where directories[directory].journal.isBehind {
      guard directories[directory].journal.step == .idle else { continue }
      rewrite(directory)
      guard directories[directory].journal.isBehind else { continue }
      return finish { completion(.failure(.busy)) }
    }
    let busy = working.filter { directories[$0].journal.step != .idle }
    guard !busy.isEmpty else { return finish { completion(.success(())) } }
    tickets[nextTicket] = JournalTicket(
      left: busy.count, isWritten: busy.count < working.count
    ) { completion($0 ? .success(()) : .failure(.failed)) }
    for directory in busy {
      if directories[directory].journal.pending.isEmpty {
        directories[directory].journal.ticketsInFlight.append(nextTicket)
      } else {
        directories[directory].journal.pendingTickets.append(nextTicket)
      }
    }
    nextTicket += 1
  }

  /// Writes what waits, as one frame, or everything anew to the other file if there is no room.
  mutating func pumpJournal(_ directory: Int) {
    let journal = directories[directory].journal
    guard journal.step == .idle, !journal.pending.isEmpty else { return }
    var count = 0
    var bytes = 0
    for entry in journal.pending where count < Self.entriesPerFrameMax {
      bytes += entry.encodedBytes
      guard count == 0 || bytes <= Self.frameBytesMax else { break }
      count += 1
    }
    let entries = Array(journal.pending.prefix(count))
    let blocks = JournalFrame.blocks(for: entries)
    guard !journal.isBehind, journal.nextBlock + blocks <= journal.blockCount else {
      return rewrite(directory)
    }
    let frame = JournalFrame(epoch: journal.epoch, index: journal.nextIndex, entries: entries)
    let buffer = PageBuffer(byteCount: blocks * diskBlockBytes)
    unsafe frame.write(to: buffer.bytes)
    let file = journal.files[journal.active]
    directories[directory].journal.pending.removeFirst(count)
    // Tickets wait for all entries that came with them or before.
    if directories[directory].journal.pending.isEmpty {
      directories[directory].journal.ticketsInFlight = journal.pendingTickets
      directories[directory].journal.pendingTickets = []
    }
    directories[directory].journal.step = .writing
    directories[directory].journal.nextBlock += blocks
    directories[directory].journal.nextIndex += 1
    submit(
      directory, .write(file, at: journal.nextBlock * diskBlockBytes, from: [buffer.span]),
      .journalWritten(directory: directory, buffer))
  }

  private static let entriesPerFrameMax = 1024
  private static let frameBytesMax = 64 << 10

  /// A step of the journal's writing has ended.
  mutating func journalStepEnded(
    _ directory: Int, _ result: Result<Void, DiskError>, now: Instant
  ) {
    guard directories[directory].journal.step != .idle else { return }
    if case .failure(let error) = result {
      directories[directory].writeErrors += 1
      if directories[directory].phase == .recovering { directories[directory].phase = .serving }
      quarantine(directory, error, now: now)
      return pump(directory, now: now)
    }
    let journal = directories[directory].journal
    let other = journal.files[1 - journal.active]
    switch journal.step {
    case .idle: break
    case .writing: step(directory, .syncing, .synchronise(journal.files[journal.active]))
    case .rewriting: step(directory, .syncingFrames, .synchronise(other))
    case .syncingFrames: writeHeader(directory, of: other)
    case .writingHeader: step(directory, .syncingHeader, .synchronise(other))
    case .syncingHeader:
      directories[directory].journal.active = 1 - journal.active
      directories[directory].journal.epoch += 1
      frameIsDurable(directory)
    case .syncing: frameIsDurable(directory)
    }
    pump(directory, now: now)
  }

  private mutating func step(_ directory: Int, _ step: JournalState.Step, _ work: DiskWork) {
    directories[directory].journal.step = step
    submit(directory, work, .journalSynchronised(directory: directory))
  }

  private mutating func frameIsDurable(_ directory: Int) {
    let ended = directories[directory].journal.ticketsInFlight
    directories[directory].journal.ticketsInFlight = []
    directories[directory].journal.step = .idle
    for ticket in ended { count(ticket, isWritten: true) }
  }

  private mutating func count(_ number: UInt64, isWritten: Bool) {
    guard var ticket = tickets[number] else { return }
    ticket.left -= 1
    ticket.isWritten = ticket.isWritten || isWritten
    tickets[number] = ticket.left > 0 ? ticket : nil
    guard ticket.left == 0 else { return }
    let (completion, isWritten) = (ticket.completion, ticket.isWritten)
    doubts.end(number, isDurable: isWritten)
    finish { completion(isWritten) }
  }

  /// Nothing more will be written to the journal of a directory: nobody waits for it any longer.
  mutating func endJournal(_ directory: Int) {
    let journal = directories[directory].journal
    directories[directory].journal.pending = []
    directories[directory].journal.pendingTickets = []
    directories[directory].journal.ticketsInFlight = []
    directories[directory].journal.step = .idle
    let isLost = journal.step != .idle || journal.isBehind
    hasForgotten = hasForgotten || isLost && working.isEmpty
    for ticket in journal.ticketsInFlight + journal.pendingTickets {
      count(ticket, isWritten: false)
    }
  }

  // MARK: Rewriting

  private mutating func rewrite(_ directory: Int) {
    if isReady {
      let first = directories.map(\.oldestSequence).min() ?? .max
      tenants.forgetPurges(before: first)
      shadows.forget(before: first)
    }
    let journal = directories[directory].journal
    let tickets = journal.pendingTickets
    directories[directory].journal.pending = []
    directories[directory].journal.pendingTickets = []
    let entries = tenants.snapshot(nextSequence: max(nextSequence, reservedSequence))
    let frames = frames(of: entries, epoch: journal.epoch + 1)
    let blocks = frames.reduce(0) { $0 + JournalFrame.blocks(for: $1.entries) }
    guard 1 + blocks <= journal.blockCount else {
      directories[directory].journal.isBehind = true
      report(.journalFull(path: directories[directory].storage.path))
      for ticket in tickets { count(ticket, isWritten: false) }
      return
    }
    let buffer = PageBuffer(byteCount: blocks * diskBlockBytes)
    var start = 0
    for frame in frames {
      let end = start + JournalFrame.blocks(for: frame.entries) * diskBlockBytes
      unsafe frame.write(to: UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[start..<end]))
      start = end
    }
    directories[directory].journal.isBehind = false
    directories[directory].journal.ticketsInFlight = tickets
    directories[directory].journal.step = .rewriting
    directories[directory].journal.nextBlock = 1 + blocks
    directories[directory].journal.nextIndex = UInt64(frames.count)
    submit(
      directory,
      .write(journal.files[1 - journal.active], at: diskBlockBytes, from: [buffer.span]),
      .journalWritten(directory: directory, buffer))
  }

  private func frames(of entries: [JournalEntry], epoch: UInt64) -> [JournalFrame] {
    var frames: [JournalFrame] = []
    var group: [JournalEntry] = []
    var bytes = 0
    for entry in entries {
      if !group.isEmpty,
        bytes + entry.encodedBytes > Self.frameBytesMax || group.count == Self.entriesPerFrameMax
      {
        frames.append(JournalFrame(epoch: epoch, index: UInt64(frames.count), entries: group))
        group = []
        bytes = 0
      }
      group.append(entry)
      bytes += entry.encodedBytes
    }
    frames.append(JournalFrame(epoch: epoch, index: UInt64(frames.count), entries: group))
    return frames
  }

  private mutating func writeHeader(_ directory: Int, of file: any BlockFile) {
    let header = JournalHeader(
      epoch: directories[directory].journal.epoch + 1, directoryID: directories[directory].id)
    let buffer = PageBuffer(byteCount: JournalHeader.byteCount)
    unsafe header.write(to: buffer.bytes)
    directories[directory].journal.step = .writingHeader
    submit(
      directory, .write(file, at: 0, from: [buffer.span]),
      .journalWritten(directory: directory, buffer))
  }
}
