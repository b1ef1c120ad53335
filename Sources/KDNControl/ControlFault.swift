package import KDNCore

/// Why an administrator does not get what was asked for; as JSON the body of an error answer.
package struct ControlFault: Error, Codable, Equatable, Sendable, CustomStringConvertible {
  /// What kind of fault it is; decides the HTTP status.
  package enum Code: String, Codable, Sendable, CaseIterable {
    /// The request or a value in it is malformed.
    case badRequest = "bad_request"
    /// No token, or a wrong one.
    case unauthorised
    /// No administrator is configured, so nobody may write.
    case forbidden
    /// What the request names is not there.
    case notFound = "not_found"
    /// It contradicts what is there.
    case conflict
    /// A limit of a tenant is in the way.
    case overQuota = "over_quota"
    /// Not now; asking again may help.
    case busy
    /// The daemon as it is configured cannot do it.
    case unavailable
  }

  /// What kind of fault it is.
  package let code: Code
  /// The key, parameter or field at fault; empty if there is none.
  package let field: String
  /// What is wrong, in a sentence, with value and limit where there are any.
  package let message: String

  /// Puts a fault together.
  package init(_ code: Code, field: String = "", _ message: String) {
    self.code = code
    self.field = field
    self.message = message
  }

  /// The same for a faulty field.
  package init(_ fault: FieldFault) {
    self.init(.badRequest, field: fault.field, "\(fault)")
  }

  package var description: String { message }
}
