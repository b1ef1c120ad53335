internal import Configuration
internal import KDNCore

/// Where a value came from; the first of these that has one wins.
package enum SettingOrigin: String, Sendable {
  case flag
  case environment
  case file
  case preset = "default"
}

/// The values of one setting as text, and where they came from.
package struct SettingValue: Sendable {
  /// One text, or any number for a list.
  package let texts: [String]
  /// Who said so.
  package let origin: SettingOrigin
}

/// Finds each setting's text: flags over environment over file over defaults.
struct SettingSources {
  private let layers: [(origin: SettingOrigin, snapshot: any ConfigSnapshot)]

  /// Prepares the layers.
  ///
  /// - Parameters:
  ///   - flags: texts by key, from the command line.
  ///   - environment: all variables of the process; those of no setting are not looked at.
  ///   - file: the text of the YAML file, nil if there is none.
  /// - Throws: all faults found: unknown keys in flags or file, YAML that cannot be read.
  init(
    flags: [String: [String]], environment: [String: String], file: String?
  ) throws(ConfigurationFault) {
    var faults = Self.unknown(Array(flags.keys), in: "flag")
    var layers: [(SettingOrigin, any ConfigSnapshot)] = [
      (.flag, Self.snapshot(flags, name: "flags")),
      (.environment, Self.snapshot(Self.settings(in: environment), name: "environment")),
    ]
    if let file {
      do {
        let texts = try YAMLTexts(file).texts
        faults += Self.unknown(Array(texts.keys), in: "file")
        layers.append((.file, Self.snapshot(texts, name: "file")))
      } catch {
        faults.append(error)
      }
    }
    guard faults.isEmpty else { throw ConfigurationFault(faults: faults) }
    self.layers = layers
  }

  /// The texts of `setting` from the first layer that has them.
  ///
  /// - Throws: a fault that names the key if a list stands where one value belongs.
  func value(of setting: Setting) throws(FieldFault) -> SettingValue {
    let key = AbsoluteConfigKey([setting.key])
    for layer in layers {
      do {
        let type: ConfigType = setting.isList ? .stringArray : .string
        guard let found = try layer.snapshot.value(forKey: key, type: type).value else { continue }
        switch found.content {
        case .stringArray(let texts): return SettingValue(texts: texts, origin: layer.origin)
        case .string(let text): return SettingValue(texts: [text], origin: layer.origin)
        default: break
        }
      } catch {
        throw FieldFault(
          setting.key, value: 0, limit: 1,
          setting.isList ? "a list of texts belongs here" : "one value belongs here")
      }
    }
    return SettingValue(texts: setting.defaults, origin: .preset)
  }

  private static func unknown(_ keys: [String], in place: String) -> [FieldFault] {
    let known = Set(Setting.all.map(\.key))
    return keys.filter { !known.contains($0) }.sorted().map {
      FieldFault($0, value: 0, limit: 0, "no such key (\(place))")
    }
  }

  private static func settings(in environment: [String: String]) -> [String: [String]] {
    var found: [String: [String]] = [:]
    for setting in Setting.all {
      guard let text = environment[setting.environmentName] else { continue }
      found[setting.key] =
        setting.isList ? text.split(separator: ",").map { String($0) } : [text]
    }
    return found
  }

  private static func snapshot(
    _ texts: [String: [String]], name: String
  ) -> any ConfigSnapshot {
    var values: [AbsoluteConfigKey: ConfigValue] = [:]
    for setting in Setting.all {
      guard let found = texts[setting.key] else { continue }
      let isOne = !setting.isList && found.count == 1
      let content: ConfigContent = isOne ? .string(found[0]) : .stringArray(found)
      values[AbsoluteConfigKey([setting.key])] = ConfigValue(content, isSecret: false)
    }
    return InMemoryProvider(name: name, values: values).snapshot()
  }
}
