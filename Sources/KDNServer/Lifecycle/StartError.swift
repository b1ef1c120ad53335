package import KDNCore
package import KDNTransport

/// Why a daemon could not start.
package enum StartError: Error, Sendable, CustomStringConvertible {
  /// An address is taken or not to be had.
  case address(TransportError)
  /// The kernel refused something else.
  case system(TransportError)
  /// The memory asked for is not to be had.
  case memory(String)
  /// A directory of the disk tier cannot be used; what to do about it is told.
  case disk(String)
  /// The configuration cannot work here.
  case configuration(FieldFault)
  /// A file that the configuration names cannot be used.
  case files(ConfigurationFault)

  package var description: String {
    switch self {
    case .address(let error), .system(let error): "\(error)"
    case .memory(let problem), .disk(let problem): problem
    case .configuration(let fault): "\(fault)"
    case .files(let fault): "\(fault)"
    }
  }
}
