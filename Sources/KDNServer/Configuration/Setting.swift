/// One configuration key: its name in all three spellings, its default, its unit and its meaning.
package struct Setting: Sendable {
  /// The key in YAML; `KDN_` and upper case in the environment, hyphens on the command line.
  package let key: String
  /// What holds if nobody says otherwise; several texts for a list.
  package let defaults: [String]
  /// Whether the value is a list.
  package let isList: Bool
  /// What the value counts: `size`, `milliseconds`, `count` and so on.
  package let unit: String
  /// What the key does, in one sentence.
  package let help: String
  /// Whether a reload can change the value; a change of another key refuses the whole reload.
  package let isReloadable: Bool
  /// Whether the value may not be shown.
  package let isSecret: Bool

  /// The name in the environment.
  package var environmentName: String { "KDN_" + key.uppercased() }

  /// How a key behaves beyond its value.
  enum Trait {
    case reloadable
    case secret
  }

  init(_ key: String, _ value: String, _ unit: String, _ help: String, _ traits: Trait...) {
    self.init(key, [value], isList: false, unit, help, traits)
  }

  init(_ key: String, list: [String], _ unit: String, _ help: String, _ traits: Trait...) {
    self.init(key, list, isList: true, unit, help, traits)
  }

  private init(
    _ key: String, _ defaults: [String], isList: Bool, _ unit: String, _ help: String,
    _ traits: [Trait]
  ) {
    self.key = key
    self.defaults = defaults
    self.isList = isList
    self.unit = unit
    self.help = help
    isReloadable = traits.contains(.reloadable)
    isSecret = traits.contains(.secret)
  }
}
