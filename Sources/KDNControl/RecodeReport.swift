/// What to keep in another codec from now on; exactly one of all, layouts, document and hashes.
package struct RecodeOrder: Codable, Sendable, Equatable {
  /// The tenant.
  package var namespace: String
  /// `raw`, `exact`, `high`, `balanced`, `small` or `archive` for objects of layouts, `raw`, `zstd`
  /// or `lz4` for opaque ones.
  package var codec: String
  /// Everything of the namespace that the codec is for.
  package var all: Bool?
  /// All objects of these layouts, in hexadecimal.
  package var layouts: [String]?
  /// All objects of the text that this name stands for.
  package var document: String?
  /// Every object of these chunks or opaque names, in hexadecimal.
  package var hashes: [String]?
  /// `ram`, `disk` or both; nil for both.
  package var tiers: [String]?
  /// Whether objects are only counted.
  package var dryRun: Bool?

  /// Puts the values together.
  package init(
    namespace: String, codec: String, all: Bool? = nil, layouts: [String]? = nil,
    document: String? = nil, hashes: [String]? = nil, tiers: [String]? = nil, dryRun: Bool? = nil
  ) {
    self.namespace = namespace
    self.codec = codec
    self.all = all
    self.layouts = layouts
    self.document = document
    self.hashes = hashes
    self.tiers = tiers
    self.dryRun = dryRun
  }
}

/// Which job to cancel.
package struct RecodeCancellation: Codable, Sendable, Equatable {
  /// The tenant; it has one job at a time.
  package var namespace: String

  /// Puts the value together.
  package init(namespace: String) { self.namespace = namespace }
}

/// A job that keeps objects in another codec; it ends with the daemon.
package struct RecodeReport: Codable, Sendable, Equatable {
  /// How far a job is.
  package enum State: String, Codable, Sendable, CaseIterable {
    /// It looks how much there is to do.
    case counting
    case running
    /// It was cancelled, and what is under way comes to its end.
    case cancelling
    case done
    case cancelled

    /// Whether nothing more will happen.
    package var isOver: Bool { self == .done || self == .cancelled }
  }

  /// Counts jobs since the daemon's start.
  package var id: UInt64
  /// The tenant.
  package var namespace: String
  /// The codec's name.
  package var codec: String
  /// Which objects, in words.
  package var scope: String
  /// Where they are changed: `ram`, `disk` or both.
  package var tiers: [String]
  /// Whether objects are only counted.
  package var dryRun: Bool
  /// Who ordered it.
  package var administrator: String
  /// How far it is.
  package var state: State
  /// When it began, in milliseconds since 1970.
  package var startedUnixMilliseconds: UInt64
  /// When it ended; nil before.
  package var endedUnixMilliseconds: UInt64?
  /// Objects looked at, and how many there are as far as they are counted.
  package var objectsDone, objectsTotal: Int
  /// Their bytes as they were kept.
  package var bytesDone, bytesTotal: Int
  /// Of all, objects that neither have the codec already nor a lossy one, and their bytes.
  package var recodableObjects, recodableBytes: Int
  /// Objects that changed.
  package var recodedObjects: Int
  /// Their bytes before and after.
  package var bytesBefore, bytesAfter: Int
  /// Objects that stay as they are, by cause; only those that occurred.
  package var declined: [String: Int]

  /// A job that begins now.
  package init(
    id: UInt64, namespace: String, codec: String, scope: String, tiers: [String], dryRun: Bool,
    administrator: String, startedUnixMilliseconds: UInt64
  ) {
    self.id = id
    self.namespace = namespace
    self.codec = codec
    self.scope = scope
    self.tiers = tiers
    self.dryRun = dryRun
    self.administrator = administrator
    self.startedUnixMilliseconds = startedUnixMilliseconds
    state = .counting
    (objectsDone, objectsTotal, bytesDone, bytesTotal) = (0, 0, 0, 0)
    (recodableObjects, recodableBytes, recodedObjects) = (0, 0, 0)
    (bytesBefore, bytesAfter) = (0, 0)
    declined = [:]
  }
}

/// Jobs, the newest first.
package struct RecodeList: Codable, Sendable, Equatable {
  /// Those under way, and the last that ended.
  package var jobs: [RecodeReport]

  /// Puts the jobs together.
  package init(jobs: [RecodeReport]) { self.jobs = jobs }
}
