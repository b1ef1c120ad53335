/// One thing that `kdn doctor` looked at.
struct Finding: Encodable, Equatable {
  /// How much it matters.
  enum Severity: String, Encodable {
    case ok
    /// Costs speed or comfort.
    case warning
    /// Something does not work.
    case error
  }

  /// What was looked at.
  let check: String
  let severity: Severity
  /// What was found.
  let found: String
  /// What to do about it; empty if nothing is to be done.
  let remedy: String

  static func ok(_ check: String, _ found: String) -> Finding {
    Finding(check: check, severity: .ok, found: found, remedy: "")
  }

  static func warning(_ check: String, _ found: String, remedy: String) -> Finding {
    Finding(check: check, severity: .warning, found: found, remedy: remedy)
  }

  static func error(_ check: String, _ found: String, remedy: String) -> Finding {
    Finding(check: check, severity: .error, found: found, remedy: remedy)
  }
}
