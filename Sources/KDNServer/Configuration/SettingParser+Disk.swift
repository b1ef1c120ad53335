internal import KDNCore
internal import KDNTier

/// Limits of the disk tier's settings.
private enum DiskLimits {
  /// From so small that tests fill it to so large that reclaiming one takes seconds.
  static let segmentBytes = 64 << 10...4 << 30
  /// Segments that a directory holds at least.
  static let segmentsMin = 4
}

extension SettingParser {
  /// The disk tier; each directory must hold a few segments, or reclaiming could not breathe.
  mutating func disk() -> DiskSettings {
    let entries = texts("disk")
    let segment = size("disk_segment", DiskLimits.segmentBytes)
    if segment.bytes % diskBlockBytes != 0 {
      note(
        FieldFault(
          "disk_segment", value: segment.bytes, limit: diskBlockBytes,
          "must be whole blocks of \(diskBlockBytes) bytes"))
    }
    return DiskSettings(
      places: places(entries, segment), segment: segment,
      engine: named("disk_engine", else: .auto), depth: count("disk_depth", 1...128),
      admission: named("disk_admission", else: .all),
      dailyWrites: size("disk_write_budget", 0...1 << 50),
      writeDelayMilliseconds: count("disk_write_delay_ms", 0...3_600_000),
      writeBehind: size("disk_write_behind", 1 << 20...1 << 40),
      staging: size("disk_staging", 1 << 20...1 << 40))
  }

  private mutating func places(_ entries: [String], _ segment: ByteCount) -> [DiskPlace] {
    var places: [DiskPlace] = []
    for text in entries {
      do throws(FieldFault) {
        let place = try DiskPlace(parsing: text, field: "disk")
        guard !places.contains(where: { $0.path == place.path }) else {
          throw FieldFault("disk", value: 2, limit: 1, "'\(place.path)' stands there twice")
        }
        let least = segment.bytes * DiskLimits.segmentsMin
        guard place.capacity.bytes >= least else {
          throw FieldFault(
            "disk", value: place.capacity.bytes, limit: least,
            "'\(place.path)' must hold \(DiskLimits.segmentsMin) segments")
        }
        places.append(place)
      } catch {
        note(error)
      }
    }
    return places
  }

  private mutating func named<Value: RawRepresentable & CaseIterable>(
    _ key: String, else fallback: Value
  ) -> Value where Value.RawValue == String {
    choice(
      key, Dictionary(uniqueKeysWithValues: Value.allCases.map { ($0.rawValue, $0) }),
      else: fallback)
  }
}
