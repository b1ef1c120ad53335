internal import FoundationEssentials

/// How the control's values become JSON: keys in snake case and sorted.
package enum ControlJSON {
  /// Encodes a value.
  package static func encode(_ value: some Encodable) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    do {
      return Array(try encoder.encode(value))
    } catch {
      preconditionFailure("a value of the control could not be written as JSON: \(error)")
    }
  }

  /// Decodes a value.
  ///
  /// - Throws: `bad_request` that names the first key at fault.
  package static func decode<Value: Decodable>(
    _ type: Value.Type, from bytes: [UInt8]
  ) throws(ControlFault) -> Value {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    do {
      return try decoder.decode(type, from: Data(bytes))
    } catch let error as DecodingError {
      throw Self.fault(error, in: bytes)
    } catch {
      throw ControlFault(.badRequest, "not JSON")
    }
  }

  /// What is wrong, in the names that were sent: those of keys in snake case.
  private static func fault(_ error: DecodingError, in bytes: [UInt8]) -> ControlFault {
    guard error.field.isEmpty, case .dataCorrupted = error,
      let sent = try? JSONDecoder().decode(JSONNumbers.self, from: Data(bytes))
    else { return ControlFault(.badRequest, field: error.field, error.problem) }
    // The decoder calls a number that does not fit `not JSON` and does not say which it is.
    return ControlFault(
      .badRequest, field: sent.unusual.first ?? "", "a whole number in range belongs here")
  }
}

/// The paths of numbers that an unsigned whole number of 63 bits cannot hold.
private struct JSONNumbers: Decodable {
  let unusual: [String]

  private struct Name: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  init(from decoder: any Decoder) throws {
    var unusual: [String] = []
    if let object = try? decoder.container(keyedBy: Name.self) {
      for name in object.allKeys.sorted(by: { $0.stringValue < $1.stringValue }) {
        unusual += try object.decode(JSONNumbers.self, forKey: name).unusual
      }
    } else if var list = try? decoder.unkeyedContainer() {
      while !list.isAtEnd { unusual += try list.decode(JSONNumbers.self).unusual }
    } else if let number = try? decoder.singleValueContainer().decode(Double.self) {
      let isUsual = number >= 0 && number < 0x1p63 && number == number.rounded()
      unusual = isUsual ? [] : [path(of: decoder.codingPath)]
    }
    self.unusual = unusual
  }
}

/// `limits.ram_bytes_max` or `hashes[3]`.
private func path(of keys: [any CodingKey]) -> String {
  var path = ""
  for key in keys {
    if let index = key.intValue {
      path += "[\(index)]"
    } else {
      path += (path.isEmpty ? "" : ".") + snakeCase(key.stringValue)
    }
  }
  return path
}

private func snakeCase(_ name: String) -> String {
  name.reduce(into: "") { text, character in
    text += character.isUppercase ? "_" + character.lowercased() : String(character)
  }
}

extension DecodingError {
  private var context: Context {
    switch self {
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
      context
    case .keyNotFound(_, let context): context
    @unknown default: Context(codingPath: [], debugDescription: "not the JSON expected")
    }
  }

  fileprivate var field: String {
    if case .keyNotFound(let key, _) = self { return path(of: context.codingPath + [key]) }
    return path(of: context.codingPath)
  }

  fileprivate var problem: String { context.debugDescription }
}
