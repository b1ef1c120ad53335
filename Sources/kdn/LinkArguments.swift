internal import ArgumentParser
internal import KDNClient

/// Links as users write them: one, or several with commas between.
struct LinkArguments: ExpressibleByArgument, Equatable {
  /// The links, in the order in which they were written.
  let choices: [LinkChoice]

  /// Wraps choices.
  init(choices: [LinkChoice]) { self.choices = choices }

  /// Reads the argument; nil if a part of it is no link, or comes twice.
  init?(argument: String) {
    let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
    let choices = parts.compactMap { LinkChoice(rawValue: String($0)) }
    guard choices.count == parts.count, Set(choices).count == choices.count else { return nil }
    self.choices = choices
  }

  static var allValueStrings: [String] { LinkChoice.allCases.map(\.rawValue) }
}
