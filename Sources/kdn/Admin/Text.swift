internal import KDNCore

/// Numbers and tables for people.
enum Text {
  /// Bytes with a binary unit and three digits, such as `1.25 GiB`.
  static func bytes(_ count: some BinaryInteger) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    var value = Double(count)
    var unit = 0
    while abs(value) >= 1024, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return unit == 0 ? "\(count) B" : "\(digits(value)) \(units[unit])"
  }

  /// A time with a fitting unit, such as `1.25 ms`.
  static func microseconds(_ count: some BinaryInteger) -> String {
    let value = Double(count)
    if value < 1_000 { return "\(count) µs" }
    if value < 1_000_000 { return "\(digits(value / 1_000)) ms" }
    return "\(digits(value / 1_000_000)) s"
  }

  /// A share as a percentage; a dash of nothing.
  static func percent(_ part: some BinaryInteger, of whole: some BinaryInteger) -> String {
    guard whole > 0 else { return "-" }
    return Output.decimal(100 * Double(part) / Double(whole), digits: 1) + " %"
  }

  /// A number with three digits that count.
  static func digits(_ value: Double) -> String {
    Output.decimal(value, digits: abs(value) >= 100 ? 0 : abs(value) >= 10 ? 1 : 2)
  }

  /// The text if it fits, else its end, which tells paths and names apart best.
  static func tail(_ text: String, columns: Int) -> String {
    text.count <= columns ? text : "~" + text.suffix(columns - 1)
  }

  /// Lines of at most so many columns, broken between words; a longer word stands alone.
  static func wrapped(_ text: String, columns: Int) -> [String] {
    var lines: [String] = []
    for word in text.split(separator: " ") {
      if let last = lines.last, last.count + 1 + word.count <= columns {
        lines[lines.count - 1] = last + " " + word
      } else {
        lines.append(String(word))
      }
    }
    return lines
  }

  /// Milliseconds since 1970 as a time of day and date in UTC.
  static func time(unixMilliseconds: UInt64) -> String {
    let seconds = unixMilliseconds / 1000
    let (days, rest) = seconds.quotientAndRemainder(dividingBy: 86_400)
    let (year, month, day) = civil(days: Int(days))
    let clock = [rest / 3600, rest / 60 % 60, rest % 60].map { padded(Int($0), 2) }
    return "\(year)-\(padded(month, 2))-\(padded(day, 2)) \(clock.joined(separator: ":"))Z"
  }

  /// Lines of columns; numbers stand to the right.
  static func table(_ header: [String], _ rows: [[String]]) -> [String] {
    let all = [header] + rows
    let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    let isNumber = header.indices.map { column in
      !rows.isEmpty && rows.allSatisfy { $0[column].first.map { $0.isNumber || $0 == "-" } ?? true }
    }
    return all.map { row in
      let cells = row.enumerated().map { column, cell in
        let space = String(repeating: " ", count: widths[column] - cell.count)
        return isNumber[column] ? space + cell : cell + space
      }
      return String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
    }
  }

  private static func padded(_ value: Int, _ width: Int) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, width - text.count)) + text
  }

  /// Source: Howard Hinnant, chrono-compatible low-level date algorithms, `civil_from_days`.
  private static func civil(days: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }
}
