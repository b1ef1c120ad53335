package import KDNCore

/// One thing that becomes known of the documents of a namespace; the state is what all of them,
/// one after the other, come to.
package enum DocumentChange: Equatable, Sendable {
  /// No epoch or id up to this one is given again.
  case epoch(NamespaceName, UInt64)
  /// The facts of a layout that documents name.
  case layout(NamespaceName, Layout)
  /// A name stands for this text from now on, without edits.
  case published(NamespaceName, Document, epoch: UInt64)
  /// A name stands for nothing any more.
  case retired(NamespaceName, name: String)
  /// An operation was added to a document.
  case edited(NamespaceName, name: String, DocumentEdit)
  /// An operation was taken back, or all of a document for 0.
  case reverted(NamespaceName, name: String, id: UInt64)
  /// All names of the namespace are forgotten; epochs and rules stay.
  case forgotten(NamespaceName)
  /// These rules hold in the place of all earlier ones.
  case denied(NamespaceName, AccessRules)

  /// Most chunks of a document that is kept.
  package static let chunksMax = 1 << 16
  /// Longest layout that is kept, in bytes of its canonical encoding.
  package static let layoutBytesMax = JournalEntry.layoutBytesMax

  /// What a change is, as it is written.
  enum Kind: UInt8, CaseIterable {
    case epoch = 1
    case layout = 2
    case published = 3
    case retired = 4
    case edited = 5
    case reverted = 6
    case forgotten = 7
    case denied = 8
  }

  /// The namespace that it is about.
  package var namespace: NamespaceName {
    switch self {
    case .epoch(let name, _), .layout(let name, _), .published(let name, _, _),
      .retired(let name, _), .edited(let name, _, _), .reverted(let name, _, _),
      .forgotten(let name), .denied(let name, _):
      name
    }
  }
}
