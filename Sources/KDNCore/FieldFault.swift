/// A value from outside that is malformed or beyond its limit: which field, its value, its limit.
///
/// The one error of everything that decodes bytes from wire, disk or configuration, so that each
/// refusal can be shown to whoever sent the bytes.
package struct FieldFault: Error, Equatable, Sendable, CustomStringConvertible {
  /// Name of the field, as the protocol or format document spells it.
  package let field: String
  /// The value found; a length where the field is a string or a list.
  package let value: UInt64
  /// The limit broken, or the value expected.
  package let limit: UInt64
  /// What is wrong, for people.
  package let problem: String

  /// Creates a fault for `field`, which held `value` where `limit` was the bound.
  package init(_ field: String, value: UInt64, limit: UInt64, _ problem: String) {
    self.field = field
    self.value = value
    self.limit = limit
    self.problem = problem
  }

  /// Creates a fault from signed numbers; negative ones are shown as 0.
  package init(_ field: String, value: Int, limit: Int, _ problem: String) {
    self.init(
      field, value: UInt64(clamping: value), limit: UInt64(clamping: limit), problem)
  }

  package var description: String {
    "\(field): \(problem) (value \(value), limit \(limit))"
  }
}
