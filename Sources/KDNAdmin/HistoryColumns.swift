/// Samples of the last half hour, column by column; `GET /history` as JSON.
package struct HistoryColumns: Codable, Sendable, Equatable {
  /// One line of a chart.
  package struct Column: Codable, Sendable, Equatable {
    /// What the values are, unit last; see ``HistorySeries/Name``.
    package var name: String
    /// Of which operation, tier, cause or link; empty if there is only one.
    package var label: String
    /// One for each time; nil where nothing is known, as the latency of what nobody asked for.
    package var values: [Float?]

    /// Puts the values together.
    package init(name: String, label: String, values: [Float?]) {
      self.name = name
      self.label = label
      self.values = values
    }
  }

  /// Grows when a column changes its meaning.
  package var schema = 1
  /// How far samples are apart.
  package var intervalMilliseconds: UInt64
  /// When each interval ended, since 1970; grows strictly.
  package var unixMilliseconds: [UInt64]
  /// One for each line of which anything is known at these times.
  package var columns: [Column]

  /// Puts the values together.
  package init(intervalMilliseconds: UInt64, unixMilliseconds: [UInt64], columns: [Column]) {
    self.intervalMilliseconds = intervalMilliseconds
    self.unixMilliseconds = unixMilliseconds
    self.columns = columns
  }
}
