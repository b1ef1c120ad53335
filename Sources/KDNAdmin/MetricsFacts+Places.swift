internal import KDNControl

extension MetricsFacts {
  /// The pool as a whole.
  func addPool(to text: inout MetricsText) {
    let pool = report.pool
    let gauges: [(String, String, Int)] = [
      ("objects", "Objects in RAM.", pool.objects),
      ("bytes", "Bytes of objects in RAM.", pool.bytes),
      ("dead_objects", "Objects that are gone but still held by somebody.", pool.deadObjects),
      ("memory_max_bytes", "What the pool may take.", pool.memoryBytesMax),
      ("charged_bytes", "What the pool has taken.", pool.chargedBytes),
      ("index_bytes", "Of it, for the index.", pool.indexBytes),
      ("buffer_bytes", "Of it, for buffers.", pool.bufferBytes),
      ("reservations", "Stores under way.", pool.reservations),
      ("leases", "Objects lent to readers.", pool.leases),
      ("pins", "Pinned objects.", pool.pins),
      ("waiters", "Reads that wait for what nobody has stored yet.", pool.waiters),
    ]
    for (name, help, value) in gauges { text.single("kdn_pool_\(name)", .gauge, help, value) }
    let counters: [(String, String, UInt64)] = [
      ("hits", "Reads that the pool answered.", pool.hitsTotal),
      ("stores", "Objects stored.", pool.storesTotal),
      ("evictions", "Objects that made room for others.", pool.evictionsTotal),
      ("evicted_bytes", "Bytes of objects that made room for others.", pool.evictedBytesTotal),
      ("conflicts", "Stores of what was there with other bytes.", pool.conflictsTotal),
      ("expired", "Objects whose time was over.", pool.expiredTotal),
      ("purged", "Objects dropped on request.", pool.purgedTotal),
      ("refusals", "Stores that found no room.", pool.refusalsTotal),
    ]
    for (name, help, value) in counters {
      text.single("kdn_pool_\(name)_total", .counter, help, value)
    }
    text.begin("kdn_misses_total", .counter, "Reads that were not answered, by cause.")
    for (cause, count) in pool.missesTotal.sorted(by: { $0.key < $1.key }) {
      text.add(count, ("cause", cause))
    }
  }

  /// RAM and each disk directory.
  func addTiers(to text: inout MetricsText) {
    let gauges: [(String, String, KeyPath<TierReport, Int>)] = [
      ("capacity_bytes", "What the place can hold.", \.capacityBytes),
      ("used_bytes", "What is taken of it.", \.usedBytes),
      ("objects", "Objects in it.", \.objects),
      ("object_bytes", "Bytes of the objects in it.", \.bytes),
    ]
    for (name, help, path) in gauges {
      text.begin("kdn_tier_\(name)", .gauge, help)
      for tier in report.tiers {
        text.add(tier[keyPath: path], ("tier", tier.kind), ("path", tier.place))
      }
    }
    text.begin("kdn_tier_state", .gauge, "1 for the state that a place is in, 0 for the others.")
    for tier in report.tiers {
      for state in Set(["serving", "recovering", "failed", tier.state]).sorted() {
        text.add(
          tier.state == state, ("tier", tier.kind), ("path", tier.place), ("state", state))
      }
    }
    text.begin("kdn_hits_total", .counter, "Reads that a tier answered.")
    for kind in Set(report.tiers.map(\.kind)).sorted() {
      let hits = report.tiers.first { $0.kind == kind }?.hitsTotal ?? 0
      text.add(hits, ("tier", kind))
    }
    text.begin("kdn_evictions_total", .counter, "Objects that made room in a place.")
    for tier in report.tiers {
      text.add(tier.evictionsTotal, ("tier", tier.kind), ("path", tier.place))
    }
  }

  /// The disk tier.
  func addDisk(_ disk: DiskReport, to text: inout MetricsText) {
    let errors: [(String, String, KeyPath<DiskReport.Directory, UInt64>)] = [
      ("read", "Reads that failed.", \.readErrorsTotal),
      ("write", "Writes that failed.", \.writeErrorsTotal),
      ("sync", "Syncs that failed.", \.syncErrorsTotal),
    ]
    for (name, help, path) in errors {
      text.begin("kdn_disk_\(name)_errors_total", .counter, help)
      for directory in disk.directories {
        text.add(directory[keyPath: path], ("path", directory.path))
      }
    }
    text.begin("kdn_disk_segments", .gauge, "Segments in use.")
    for directory in disk.directories { text.add(directory.segments, ("path", directory.path)) }
    text.begin("kdn_disk_ready", .gauge, "Whether all that is on disk is known.")
    text.add(disk.ready)
    let counters: [(String, String, UInt64)] = [
      ("reads", "Objects read.", disk.readsTotal),
      ("read_bytes", "Bytes read.", disk.readBytesTotal),
      ("writes", "Objects written.", disk.writesTotal),
      ("written_bytes", "Bytes written.", disk.writtenBytesTotal),
      ("synced", "Times that what was written was made durable.", disk.syncedTotal),
      ("reinserted", "Objects kept when their segment was reclaimed.", disk.reinsertedTotal),
      ("reinserted_bytes", "Bytes of them.", disk.reinsertedBytesTotal),
      ("reclaimed_segments", "Segments reclaimed.", disk.reclaimedSegmentsTotal),
      ("dropped", "Objects dropped.", disk.droppedTotal),
      ("corrupt", "Objects that failed their checksum.", disk.corruptTotal),
      (
        "write_behind_refused", "Objects not written because too much was waiting.",
        disk.writeBehind.refusedTotal
      ),
      (
        "unwritten_evictions", "Objects that left RAM before they were written.",
        disk.writeBehind.unwrittenEvictionsTotal
      ),
    ]
    for (name, help, value) in counters {
      text.single("kdn_disk_\(name)_total", .counter, help, value)
    }
    text.single(
      "kdn_disk_write_behind_objects", .gauge, "Objects that wait to be written.",
      disk.writeBehind.waiting)
    text.single(
      "kdn_disk_write_behind_bytes", .gauge, "Bytes that wait to be written.",
      disk.writeBehind.waitingBytes)
    text.single(
      "kdn_disk_recovery_seconds", .gauge, "What finding out what is on disk took at the start.",
      Double(disk.recovery.milliseconds) / 1000)
    text.single(
      "kdn_disk_recovered_records", .gauge, "Records found at the start.", disk.recovery.records)
    text.single(
      "kdn_disk_recovery_dropped_records", .gauge, "Of them, dropped.", disk.recovery.dropped)
  }
}
