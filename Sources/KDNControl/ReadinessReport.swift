/// Whether the daemon can serve; `GET /readyz?verbose`.
package struct ReadinessReport: Codable, Sendable {
  /// One thing looked at.
  package struct Check: Codable, Sendable {
    /// `draining`, `listeners`, `loops`, `memory`, `disk`, `recovery`, `reservations`.
    package var name: String
    /// Whether it stands in nobody's way.
    package var isOK: Bool
    /// What was found, in a sentence.
    package var detail: String

    // `isOK` would be written `is_ok` and read back as `isOk`.
    private enum CodingKeys: String, CodingKey {
      case name
      case isOK = "isOk"
      case detail
    }

    /// Puts the values together.
    package init(name: String, isOK: Bool, detail: String) {
      self.name = name
      self.isOK = isOK
      self.detail = detail
    }
  }

  /// Whether all checks are passed.
  package var isReady: Bool
  /// All that was looked at.
  package var checks: [Check]

  /// Puts the values together.
  package init(isReady: Bool, checks: [Check]) {
    self.isReady = isReady
    self.checks = checks
  }
}

/// The configuration as it holds; `GET /config`.
package struct ConfigurationReport: Codable, Sendable {
  /// One key.
  package struct Entry: Codable, Sendable {
    /// The key.
    package var key: String
    /// Several texts for a list; a secret shows only how many it holds.
    package var values: [String]
    /// Whether it holds a list.
    package var isList: Bool
    /// `flag`, `environment`, `file` or `default`.
    package var source: String
    /// Whether a reload can change it.
    package var isReloadable: Bool
    /// What the value counts.
    package var unit: String
    /// What the key does, in one sentence.
    package var help: String

    /// Puts the values together.
    package init(
      key: String, values: [String], isList: Bool, source: String, isReloadable: Bool,
      unit:
        String, help: String
    ) {
      self.key = key
      self.values = values
      self.isList = isList
      self.source = source
      self.isReloadable = isReloadable
      self.unit = unit
      self.help = help
    }
  }

  /// All keys.
  package var entries: [Entry]

  /// Puts the values together.
  package init(entries: [Entry]) {
    self.entries = entries
  }
}
