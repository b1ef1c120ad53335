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
      throw ControlFault(.badRequest, field: error.field, error.problem)
    } catch {
      throw ControlFault(.badRequest, "not JSON")
    }
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
    var path = context.codingPath.map(\.stringValue)
    if case .keyNotFound(let key, _) = self { path.append(key.stringValue) }
    return path.joined(separator: ".")
  }

  fileprivate var problem: String { context.debugDescription }
}
