internal import ArgumentParser
internal import KDNCore

/// Opaque objects, named by text.
struct KeyArguments: ParsableArguments {
  @Argument(help: "Keys of opaque objects, any text.")
  var keys: [String]

  /// The keys as the daemon knows them.
  var objects: [ObjectKey] { keys.map(Self.object) }

  /// The key of the opaque object that `text` names.
  static func object(_ text: String) -> ObjectKey {
    ObjectKey(opaque: HashChain.opaque(Array(text.utf8)))
  }

  func validate() throws {
    guard !keys.isEmpty, !keys.contains("") else { throw ValidationError("a key is not empty") }
  }

  /// Writes one answer per key: `yes` or `no` before it, or JSON.
  func show(_ answers: [Bool], as name: String, isJSON: Bool) throws {
    for (key, answer) in zip(keys, answers) {
      if isJSON {
        try Output.line(KeyAnswer(key: key, name: name, answer: answer))
      } else {
        Output.line("\(answer ? "yes" : "no") \(key)")
      }
    }
  }
}

/// What the daemon says of one key.
private struct KeyAnswer: Encodable {
  let key: String
  let name: String
  let answer: Bool

  private struct Name: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Name.self)
    try container.encode(key, forKey: Name(stringValue: "key"))
    try container.encode(answer, forKey: Name(stringValue: name))
  }
}
