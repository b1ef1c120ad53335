/// Whether the daemon can serve; `GET /readyz?verbose`.
package struct ReadinessReport: Codable, Sendable {
  /// One thing looked at.
  package struct Check: Codable, Sendable {
    /// `draining`, `listeners`, `loops`, `memory`, `disk`, `recovery`, `reservations`.
    package var name: String
    package var isOK: Bool
    /// What was found, in a sentence.
    package var detail: String

    /// Puts the values together.
    package init(name: String, isOK: Bool, detail: String) {
      self.name = name
      self.isOK = isOK
      self.detail = detail
    }
  }

  package var isReady: Bool
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
    package var key: String
    /// Several texts for a list; a secret shows only how many it holds.
    package var values: [String]
    package var isList: Bool
    /// `flag`, `environment`, `file` or `default`.
    package var source: String
    /// Whether a reload can change it.
    package var isReloadable: Bool
    package var unit: String
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

  package var entries: [Entry]

  /// Puts the values together.
  package init(entries: [Entry]) {
    self.entries = entries
  }
}
