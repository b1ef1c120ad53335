package import KDNCore

/// Everything that is wrong with a configuration, at once.
package struct ConfigurationFault: Error, Sendable, CustomStringConvertible {
  /// One fault per key at least, never empty.
  package let faults: [FieldFault]

  package var description: String {
    faults.map(\.description).joined(separator: "\n")
  }
}
