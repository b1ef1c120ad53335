/// How much of what edits change of a document is kept as it is delivered.
package struct Materialised: Hashable, Sendable {
  /// What happens to it.
  package enum State: UInt8, Sendable, CaseIterable {
    /// The edits change no chunk, or there is none.
    case nothing = 0
    /// Some chunks, or all, are edited where KV is assembled.
    case onDelivery = 1
    /// They are being edited, to be kept.
    case running = 2
    /// All are kept.
    case whole = 3

    /// The name that answers use.
    package var name: String {
      switch self {
      case .nothing: "nothing"
      case .onDelivery: "on_delivery"
      case .running: "running"
      case .whole: "whole"
      }
    }
  }

  /// What happens to it.
  package let state: State
  /// Objects of chunks that the edits change.
  package let total: Int
  /// Of these, those that are kept as they are delivered.
  package let kept: Int

  /// Puts the facts together.
  package init(_ state: State, total: Int = 0, kept: Int = 0) {
    self.state = state
    self.total = total
    self.kept = kept
  }
}
