package import KDNCore

/// Why encoded bytes or a profile cannot be used.
package enum CodecFault: Error, Equatable, Sendable, CustomStringConvertible {
  /// A field is malformed or beyond its limit.
  case field(FieldFault)
  /// Fewer bytes than the part that was to be read takes.
  case truncated(needed: Int, have: Int)
  /// The object needs a profile, and none was given.
  case missingProfile(ProfileHash)
  /// The profile given is not the one that the object names.
  case wrongProfile(wanted: ProfileHash, given: ProfileHash)
  /// Bytes do not have the checksum that is told of them.
  case checksum(String, wanted: UInt64, found: UInt64)

  /// A fault of the field `name`, which held `value` where `limit` was the bound.
  static func field(_ name: String, _ value: Int, limit: Int, _ problem: String) -> CodecFault {
    .field(FieldFault(name, value: value, limit: limit, problem))
  }

  /// The name of the cause in statistics.
  package var cause: String {
    switch self {
    case .field: "malformed"
    case .truncated: "truncated"
    case .missingProfile: "missing_profile"
    case .wrongProfile: "wrong_profile"
    case .checksum: "checksum"
    }
  }

  package var description: String {
    switch self {
    case .field(let fault): fault.description
    case .truncated(let needed, let have): "encoded bytes end: \(needed) needed, \(have) there"
    case .missingProfile(let hash): "profile \(hash) is needed"
    case .wrongProfile(let wanted, let given): "profile \(wanted) is needed, not \(given)"
    case .checksum(let what, let wanted, let found):
      "checksum of \(what): told \(wanted), is \(found)"
    }
  }

  /// Runs `body`, whose field faults become codec faults.
  static func wrapping<Value>(
    _ body: () throws(FieldFault) -> Value
  ) throws(CodecFault) -> Value {
    do {
      return try body()
    } catch {
      throw .field(error)
    }
  }
}
