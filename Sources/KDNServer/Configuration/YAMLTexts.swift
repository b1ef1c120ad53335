internal import KDNCore
internal import Yams

/// The keys of a YAML file with their values as text.
struct YAMLTexts {
  /// One text for a plain value, any number for a list.
  let texts: [String: [String]]

  /// Reads a file of plain keys and plain values or lists of them.
  ///
  /// - Throws: a fault that names the key, or `file` if the text is not YAML or no mapping.
  init(_ file: String) throws(FieldFault) {
    let root: Node?
    do {
      root = try Yams.compose(yaml: file)
    } catch {
      throw FieldFault("file", value: file.utf8.count, limit: 0, "not YAML: \(error)")
    }
    guard let root else {
      texts = [:]
      return
    }
    guard let mapping = root.mapping else {
      throw FieldFault("file", value: 0, limit: 0, "not a list of keys and values")
    }
    var texts: [String: [String]] = [:]
    for (keyNode, value) in mapping {
      let name = keyNode.scalar?.string ?? ""
      let key = name.isEmpty ? "?" : name
      guard texts[key] == nil else {
        throw FieldFault(key, value: 2, limit: 1, "stands in the file twice")
      }
      texts[key] = try Self.texts(of: value, key)
    }
    self.texts = texts
  }

  private static func texts(of value: Node, _ key: String) throws(FieldFault) -> [String] {
    if let scalar = value.scalar { return [scalar.string] }
    guard let sequence = value.sequence else {
      throw FieldFault(key, value: 0, limit: 0, "a value or a list of values belongs here")
    }
    var texts: [String] = []
    for item in sequence {
      guard let scalar = item.scalar else {
        throw FieldFault(key, value: 0, limit: 0, "a list of plain values belongs here")
      }
      texts.append(scalar.string)
    }
    return texts
  }
}
