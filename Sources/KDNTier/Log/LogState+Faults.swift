internal import KDNCore

extension LogState {
  /// Stops all writing to a directory: what is not durable there is lost or goes elsewhere.
  mutating func quarantine(_ directory: Int, _ error: DiskError, now: Instant) {
    guard directories[directory].phase == .serving else { return }
    let path = directories[directory].storage.path
    directories[directory].phase = .quarantined
    report(.error(path: path, error))
    report(.quarantined(path: path, reason: "\(error)"))
    for slot in directories[directory].busy {
      let records = directories[directory].slots[slot].unsynced
      directories[directory].slots[slot].unsynced = []
      for sequence in records { lose(sequence) }
    }
    let waiting = directories[directory].copies + directories[directory].queue
    directories[directory].copies = []
    directories[directory].queue = []
    for sequence in waiting where writes[sequence] != nil {
      directories[directory].queuedBytes -= writes[sequence]?.facts.storedBytes ?? 0
      queuedBytes -= writes[sequence]?.facts.storedBytes ?? 0
      retry(sequence, now: now)
    }
    directories[directory].reclaim = nil
    endJournal(directory)
  }

  /// A record could not be written where it was to go: it goes elsewhere, or nowhere.
  mutating func retry(_ sequence: UInt64, now: Instant) {
    guard var write = writes[sequence] else { return }
    let isWanted = index[write.key]?.sequence == sequence
    let other = directories.indices.filter {
      directories[$0].isWritable && write.facts.storedBytes <= directories[$0].payloadBytesMax
    }.min { directories[$0].queuedBytes < directories[$1].queuedBytes }
    guard write.original == nil, isWanted, let other else { return lose(sequence) }
    write.directory = other
    write.placed = nil
    enqueue(sequence, write)
    pump(other, now: now)
  }

  /// Gives up a record of which nothing is known, and tells those who wait for it.
  mutating func lose(_ sequence: UInt64) {
    guard let write = writes.removeValue(forKey: sequence) else { return }
    if write.original == nil, index[write.key]?.sequence == sequence {
      drop(write.key)
      counters.dropped += 1
    }
    for completion in write.whenWritten + write.whenDurable {
      finish { completion(.failure(.failed)) }
    }
  }

  /// A directory cannot even be read: everything in it is gone.
  mutating func abandon(_ directory: Int, now: Instant) {
    guard directories[directory].phase != .lost else { return }
    let path = directories[directory].storage.path
    quarantine(directory, DiskError(call: "read", file: "", code: 5), now: now)
    directories[directory].phase = .lost
    let gone = index.all.filter {
      Int($0.value.place.directory) == directory && $0.value.stage != .writing
    }
    for key in gone.keys { drop(key) }
    counters.dropped += UInt64(gone.count)
    report(.lost(path: path, objects: gone.count))
    let reads = directories[directory].reads
    directories[directory].reads = []
    for read in reads {
      directories[directory].slots[Int(read.place.slot)].readers -= 1
      finish { read.completion(.missed(.corrupt)) }
    }
  }
}
