package import KDNCore

/// Something in a directory of the log that is not as it should be.
package struct CheckFinding: Equatable, Sendable, CustomStringConvertible {
  /// The file's name inside its directory.
  package let file: String
  /// The block it is about, counted from the start of the file; nil: the whole file.
  package let block: Int?
  /// What is wrong.
  package let problem: CheckProblem

  /// Puts the facts together.
  package init(_ file: String, block: Int? = nil, _ problem: CheckProblem) {
    self.file = file
    self.block = block
    self.problem = problem
  }

  package var description: String {
    let place = block.map { "\(file), block \($0)" } ?? file
    return "\(place): \(problem)"
  }
}

/// What can be wrong in a directory of the log.
package enum CheckProblem: Equatable, Sendable {
  /// A file that a directory has is not there.
  case missing
  /// The device does not give the bytes.
  case unreadable(DiskError)
  /// A structure is not one that was written.
  case malformed(FieldFault)
  /// The file belongs to another directory.
  case foreign(DirectoryID)
  /// The file has another length than it was made with.
  case wrongLength(found: Int, expected: Int)
  /// A trailer names a footer that cannot be where it says.
  case footerOutside
  /// The trailer's smallest and largest sequence are not those of its footer.
  case wrongSequences
  /// A record in a footer lies outside the segment's records, or in another's place.
  case recordOutside
  /// The record before an object's bytes is not the one that the footer names.
  case headerDiffers
  /// An object's bytes do not have their checksum.
  case payload(found: Checksum, expected: Checksum)
  /// Two records have this sequence number.
  case sequenceTwice(UInt64)
  /// Two segments have this incarnation.
  case incarnationTwice(UInt64)
  /// A record is of a later generation than the journal knows.
  case generationAhead(UInt64)
  /// Frames that follow this place were durable, and cannot be read on to: what was purged since
  /// is not known, so that a daemon believes nothing here.
  case journalCut
  /// There are segments, and no journal tells what was purged from them.
  case noJournal

  /// A short name for programs.
  package var name: String {
    switch self {
    case .missing: "missing"
    case .unreadable: "unreadable"
    case .malformed: "malformed"
    case .foreign: "foreign"
    case .wrongLength: "wrong_length"
    case .footerOutside: "footer_outside"
    case .wrongSequences: "wrong_sequences"
    case .recordOutside: "record_outside"
    case .headerDiffers: "header_differs"
    case .payload: "payload"
    case .sequenceTwice: "sequence_twice"
    case .incarnationTwice: "incarnation_twice"
    case .generationAhead: "generation_ahead"
    case .journalCut: "journal_cut"
    case .noJournal: "no_journal"
    }
  }
}

extension CheckProblem: CustomStringConvertible {
  package var description: String {
    switch self {
    case .missing: "is missing"
    case .unreadable(let error): "\(error)"
    case .malformed(let fault): "\(fault)"
    case .foreign(let id): "belongs to directory \(id)"
    case .wrongLength(let found, let expected): "has \(found) bytes instead of \(expected)"
    case .footerOutside: "the trailer names a footer that cannot be there"
    case .wrongSequences: "the trailer's sequence numbers are not those of the footer"
    case .recordOutside: "the footer names a record where none can be"
    case .headerDiffers: "the record is not the one that the footer names"
    case .payload(let found, let expected):
      "the object's bytes have checksum \(hexadecimal(found)) instead of \(hexadecimal(expected))"
    case .sequenceTwice(let sequence): "sequence \(sequence) is used twice"
    case .incarnationTwice(let incarnation): "incarnation \(incarnation) is used twice"
    case .generationAhead(let generation):
      "the record is of generation \(generation), which the journal does not know"
    case .journalCut: "frames behind cannot be reached: the daemon will believe nothing here"
    case .noJournal: "no journal is valid: the daemon will believe nothing here"
    }
  }

  private func hexadecimal(_ checksum: Checksum) -> String {
    let digits = String(checksum.value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
