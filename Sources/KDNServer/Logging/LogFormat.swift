/// How a log line looks.
package enum LogFormat: String, Sendable, CaseIterable {
  /// `ts=… level=info msg=ready tcp=127.0.0.1:9440`
  case logfmt
  /// `{"ts":"…","level":"info","msg":"ready","tcp":"127.0.0.1:9440"}`
  case json
}

/// Writes one log line from its fields; pure, so that tests read it.
struct LogLine {
  let format: LogFormat
  /// The journal's priority, 0 to 7, put in front as `<6>`; nil for none.
  let priority: Int?

  /// The whole line with its line feed; control characters never leave a value unescaped.
  func render(_ fields: [(name: String, value: String)]) -> String {
    let prefix = priority.map { "<\($0)>" } ?? ""
    let body =
      switch format {
      case .logfmt:
        fields.map { "\($0.name)=\(Self.logfmt($0.value))" }.joined(separator: " ")
      case .json:
        "{" + fields.map { "\(Self.json($0.name)):\(Self.json($0.value))" }.joined(separator: ",")
          + "}"
      }
    return prefix + body + "\n"
  }

  private static func logfmt(_ value: String) -> String {
    let isPlain =
      !value.isEmpty
      && value.unicodeScalars.allSatisfy {
        $0.value > 0x20 && $0 != "\"" && $0 != "=" && $0 != "\\" && $0.value != 0x7F
      }
    return isPlain ? value : json(value)
  }

  /// A JSON string literal.
  static func json(_ value: String) -> String {
    var text = "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text + "\""
  }
}
