/// Dates as HTTP writes them.
enum HTTPDate {
  private static let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  /// The second in which `unixMilliseconds` lies, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
  static func text(_ unixMilliseconds: UInt64) -> String {
    let seconds = unixMilliseconds / 1000
    let day = Int(seconds / 86_400)
    let second = Int(seconds % 86_400)
    let (year, month, dayOfMonth) = civil(day)
    let time = [second / 3600, second / 60 % 60, second % 60].map(twoDigits)
    return """
      \(days[day % 7]), \(twoDigits(dayOfMonth)) \(months[month - 1]) \(year) \
      \(time.joined(separator: ":")) GMT
      """
  }

  /// Year, month and day of the month, all from 1, of a day since 1970.
  ///
  /// Counts in years that begin in March: http://howardhinnant.github.io/date_algorithms.html.
  private static func civil(_ day: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = day + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    return (year, month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
  }

  private static func twoDigits(_ number: Int) -> String {
    number < 10 ? "0\(number)" : "\(number)"
  }
}
