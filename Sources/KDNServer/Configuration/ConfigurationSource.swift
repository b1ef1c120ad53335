internal import KDNCore
package import KDNTransport

/// Where a daemon's configuration comes from, to be read at the start and at each reload.
package struct ConfigurationSource: Sendable {
  /// Largest YAML file, in bytes.
  package static let fileBytesMax = 1 << 20

  private let flags: [String: [String]]
  private let environment: [String: String]
  private let path: String?
  private let passed: [(kind: LinkKind, endpoint: Endpoint)]

  /// Names the places.
  ///
  /// - Parameters:
  ///   - flags: texts by key.
  ///   - environment: all variables of the process.
  ///   - path: the YAML file; nil if there is none.
  ///   - passed: sockets that a supervisor listens on.
  package init(
    flags: [String: [String]] = [:], environment: [String: String] = [:], path: String? = nil,
    passed: [(kind: LinkKind, endpoint: Endpoint)] = []
  ) {
    self.flags = flags
    self.environment = environment
    self.path = path
    self.passed = passed
  }

  /// Reads all places.
  ///
  /// - Throws: every fault found.
  package func read() throws(ConfigurationFault) -> ServerConfiguration {
    try ServerConfiguration(
      flags: flags, environment: environment, file: try file(), passed: passed)
  }

  private func file() throws(ConfigurationFault) -> String? {
    guard let path else { return nil }
    do throws(FieldFault) {
      let found = try PrivateFile.read(path, bytesMax: Self.fileBytesMax, field: "config")
      guard let bytes = found else {
        throw FieldFault("config", value: 0, limit: 0, "there is no file '\(path)'")
      }
      guard let text = String(validating: bytes, as: UTF8.self) else {
        throw FieldFault("config", value: bytes.count, limit: 0, "'\(path)' is not UTF-8")
      }
      return text
    } catch {
      throw ConfigurationFault(faults: [error])
    }
  }
}
