internal import KDNCore

/// A line of a trace that cannot be replayed.
struct TraceFault: Error, CustomStringConvertible {
  /// Number of the line, from 1.
  let line: Int
  /// Which field, and what is wrong with it.
  let fault: FieldFault

  var description: String { "line \(line): \(fault)" }
}
