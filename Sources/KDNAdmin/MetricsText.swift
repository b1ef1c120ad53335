/// Writes metrics in the text format of Prometheus, version 0.0.4.
struct MetricsText {
  /// What kind of metric a family holds.
  enum Kind: String {
    case counter, gauge, histogram
  }

  /// One label; an empty value is the same as no label.
  typealias Label = (name: String, value: String)

  private(set) var text = ""
  private var family = ""

  /// Begins a family; its samples follow.
  mutating func begin(_ name: String, _ kind: Kind, _ help: String) {
    family = name
    text += "# HELP \(name) \(Self.escapedHelp(help))\n# TYPE \(name) \(kind.rawValue)\n"
  }

  /// Writes a sample of the present family.
  mutating func add(_ value: some BinaryInteger, _ labels: Label...) {
    add("\(value)", suffix: "", labels)
  }

  /// Writes a sample of the present family.
  mutating func add(_ value: Double, _ labels: Label...) {
    add(Self.number(value), suffix: "", labels)
  }

  /// Writes a sample that is 1 if something holds, else 0.
  mutating func add(_ isTrue: Bool, _ labels: Label...) {
    add(isTrue ? "1" : "0", suffix: "", labels)
  }

  /// Writes a histogram of the present family: cumulative counts up to each bound and of all.
  mutating func addHistogram(
    _ counts: [UInt64], boundMicroseconds: [UInt64], sumMicroseconds: UInt64, _ label: Label
  ) {
    let bounds = boundMicroseconds.map(Self.seconds) + ["+Inf"]
    for (bound, count) in zip(bounds, counts) {
      add("\(count)", suffix: "_bucket", [label, ("le", bound)])
    }
    add(Self.seconds(sumMicroseconds), suffix: "_sum", [label])
    add("\(counts.last ?? 0)", suffix: "_count", [label])
  }

  /// A family with one sample.
  mutating func single(
    _ name: String, _ kind: Kind, _ help: String, _ value: some BinaryInteger
  ) {
    begin(name, kind, help)
    add(value)
  }

  /// A family with one sample.
  mutating func single(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
    begin(name, kind, help)
    add(value)
  }

  /// Microseconds as seconds, exactly.
  static func seconds(_ microseconds: UInt64) -> String {
    let fraction = String(microseconds % 1_000_000)
    let digits = String(repeating: "0", count: 6 - fraction.count) + fraction
    let end = digits.lastIndex { $0 != "0" }
    guard let end else { return "\(microseconds / 1_000_000)" }
    return "\(microseconds / 1_000_000).\(digits[...end])"
  }

  private mutating func add(_ value: String, suffix: String, _ labels: [Label]) {
    text += family + suffix
    let pairs = labels.filter { !$0.value.isEmpty }
      .map { "\($0.name)=\"\(Self.escapedLabel($0.value))\"" }
    if !pairs.isEmpty { text += "{" + pairs.joined(separator: ",") + "}" }
    text += " \(value)\n"
  }

  private static func number(_ value: Double) -> String {
    guard value.isFinite else { return value.isNaN ? "NaN" : value > 0 ? "+Inf" : "-Inf" }
    return "\(value)"
  }

  private static func escapedHelp(_ text: String) -> String {
    text.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
  }

  private static func escapedLabel(_ text: String) -> String {
    escapedHelp(text).replacing("\"", with: "\\\"")
  }
}
