package import KDNCore

/// What a check of a directory found.
package struct CheckReport: Sendable {
  /// What the directory is.
  package let superblock: Superblock
  /// What is damaged, and may have cost objects.
  package var findings: [CheckFinding] = []
  /// What a stop in the middle may leave behind, and costs nothing.
  package var notes: [CheckFinding] = []
  /// Numbers of everything.
  package var totals = CheckTotals()
  /// The objects that a daemon would find, in the order of their sequence numbers.
  package var live: [LiveRecord] = []
  /// Records that a daemon would believe and whose bytes are damaged.
  package var damaged: [LiveRecord] = []
  /// Segments that have no trailer of their present life and hold records.
  package var unsealed: [String] = []

  init(_ superblock: Superblock) { self.superblock = superblock }
}

/// An object that a daemon would find.
package struct LiveRecord: Sendable {
  /// The segment's file.
  package let file: String
  /// The object's record.
  package let header: RecordHeader
  /// When its pin ends, in milliseconds since 1970; nil if it is not pinned.
  package let pinEndMilliseconds: UInt64?
}

/// Numbers of a directory.
package struct CheckTotals: Equatable, Sendable {
  /// All files of the directory, and their bytes.
  package var files = 0, fileBytes = 0
  /// Segments by what they are: with a footer, without one, never begun or not readable.
  package var sealedSegments = 0, unsealedSegments = 0, blankSegments = 0
  /// Records found.
  package var records = 0
  /// Those that a daemon would serve, and the bytes of their objects.
  package var liveRecords = 0, liveBytes = 0
  /// Those that were purged, or are of an earlier generation.
  package var deadRecords = 0
  /// Those that a later record of the same name has replaced.
  package var supersededRecords = 0
  /// Those whose time is over.
  package var expiredRecords = 0
  /// Those in sealed segments that are damaged, whoever they were.
  package var damagedRecords = 0
  /// Records in unsealed segments that were not written to their end.
  package var tornRecords = 0
  /// Objects whose bytes were read and compared with their checksum.
  package var payloadsChecked = 0
  /// The journal that counts: its epoch, frames and entries.
  package var journalEpoch: UInt64 = 0, journalFrames = 0, journalEntries = 0
  /// Documents that are known by name, and the operations on them.
  package var documents = 0, documentEdits = 0
  /// Rules that deny documents.
  package var documentRules = 0

  init() {}

  /// Counts what changes of documents come to.
  mutating func count(_ changes: [DocumentChange]) {
    var edits: [NamespaceName: [[UInt8]: Set<UInt64>]] = [:]
    var rules: [NamespaceName: Int] = [:]
    for change in changes {
      let name = change.namespace
      switch change {
      case .published(_, let document, _): edits[name, default: [:]][Array(document.name.utf8)] = []
      case .retired(_, let document): edits[name]?[Array(document.utf8)] = nil
      case .edited(_, let document, let edit):
        edits[name]?[Array(document.utf8)]?.insert(edit.id)
      case .reverted(_, let document, let id):
        let kept = edits[name]?[Array(document.utf8)]?.filter { id != 0 && $0 != id }
        edits[name]?[Array(document.utf8)] = kept
      case .forgotten: edits[name] = nil
      case .denied(_, let denied): rules[name] = denied.denied.count
      case .epoch, .layout: break
      }
    }
    documents = edits.values.reduce(0) { $0 + $1.count }
    documentEdits = edits.values.reduce(0) { $0 + $1.values.reduce(0) { $0 + $1.count } }
    documentRules = rules.values.reduce(0, +)
  }
}

/// Why a directory cannot be checked at all.
package enum CheckFault: Error, Equatable, Sendable, CustomStringConvertible {
  /// There is no superblock: it is no directory of ours.
  case notOurs
  /// The superblock is damaged, or of a newer format.
  case format(FieldFault)
  /// The device refused.
  case device(DiskError)
  /// Nothing can be repaired: the reason.
  case beyondRepair(String)

  package var description: String {
    switch self {
    case .notOurs: "there is no superblock: this is no directory of a disk tier"
    case .format(let fault): "the superblock cannot be read: \(fault)"
    case .device(let error): "\(error)"
    case .beyondRepair(let reason): "cannot be repaired: \(reason)"
    }
  }
}
