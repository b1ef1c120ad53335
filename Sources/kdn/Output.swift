internal import FoundationEssentials
internal import Glibc

/// What the command line writes.
enum Output {
  /// Writes a line to standard output.
  static func line(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }

  /// Writes `value` as a line of JSON, keys in snake case and sorted.
  static func line(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    line(String(decoding: try encoder.encode(value), as: UTF8.self))
  }

  /// Writes text to standard output as it is.
  static func text(_ text: String) { write(text, to: STDOUT_FILENO) }

  /// Writes text to standard error as it is, for a terminal.
  static func status(_ text: String) { write(text, to: STDERR_FILENO) }

  /// Writes a line to standard error, with the program's name.
  static func complain(_ text: String) { write("kdn: \(text)\n", to: STDERR_FILENO) }

  /// A number with `digits` digits behind the point.
  static func decimal(_ value: Double, digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int64((abs(value) * scale).rounded())
    let (whole, rest) = scaled.quotientAndRemainder(dividingBy: Int64(scale))
    let sign = value < 0 ? "-" : ""
    guard digits > 0 else { return "\(sign)\(whole)" }
    let fraction = String(rest)
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return "\(sign)\(whole).\(zeros)\(fraction)"
  }

  private static func write(_ text: String, to descriptor: Int32) {
    // Who does not read any more has ended this program's use; there is nobody to tell.
    try? FileBytes.write(Array(text.utf8), descriptor, "-")
  }
}
