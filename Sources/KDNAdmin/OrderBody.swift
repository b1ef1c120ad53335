internal import FoundationEssentials
internal import KDNControl

/// A body that says nothing that could be done.
struct BodyRefusal: Error {
  let fault: ControlFault
}

/// Reads the JSON objects that orders bring.
enum OrderBody {
  /// Decodes a body whose keys, with a dot between nested ones, are all in `keys`.
  ///
  /// - Throws: a refusal that names the key at fault.
  static func decode<Value: Decodable>(
    _ type: Value.Type, from bytes: [UInt8], keys: Set<String>
  ) throws(BodyRefusal) -> Value {
    try refuseUnknownKeys(of: bytes, but: keys)
    do {
      return try ControlJSON.decode(type, from: bytes)
    } catch {
      throw BodyRefusal(fault: error)
    }
  }

  /// Accepts nothing and the empty object.
  ///
  /// - Throws: a refusal that names the first key.
  static func expectNothing(in bytes: [UInt8]) throws(BodyRefusal) {
    guard !bytes.isEmpty else { return }
    try refuseUnknownKeys(of: bytes, but: [])
  }

  /// Refuses a value of a body.
  static func refuse(_ field: String, _ message: String) -> BodyRefusal {
    BodyRefusal(fault: ControlFault(.badRequest, field: field, message))
  }

  private static func refuseUnknownKeys(
    of bytes: [UInt8], but known: Set<String>
  ) throws(BodyRefusal) {
    let shape: JSONShape
    do {
      shape = try JSONDecoder().decode(JSONShape.self, from: Data(bytes))
    } catch {
      throw refuse("", "the body is not a JSON object")
    }
    guard case .object = shape else { throw refuse("", "the body is not a JSON object") }
    guard let unknown = shape.keys.filter({ !known.contains($0) }).min() else { return }
    throw refuse(unknown, "no such key")
  }
}

/// The keys of a JSON value.
private indirect enum JSONShape: Decodable {
  case object([String: JSONShape])
  case other

  private struct Key: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  init(from decoder: any Decoder) throws {
    guard let container = try? decoder.container(keyedBy: Key.self) else {
      self = .other
      return
    }
    var members: [String: JSONShape] = [:]
    for key in container.allKeys {
      members[key.stringValue] = try container.decode(JSONShape.self, forKey: key)
    }
    self = .object(members)
  }

  /// With a dot between nested ones.
  var keys: [String] {
    guard case .object(let members) = self else { return [] }
    return members.flatMap { name, member in [name] + member.keys.map { "\(name).\($0)" } }
  }
}
