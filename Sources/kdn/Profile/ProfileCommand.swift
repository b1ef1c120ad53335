internal import ArgumentParser

/// `kdn profile`: what codecs know of a model's KV beforehand.
struct ProfileCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "profile",
    abstract:
      "Learns profiles, which the codecs balanced, small and archive need; puts them to use.",
    subcommands: [
      LearnCommand.self, ShowProfileCommand.self, UseProfileCommand.self, ListProfilesCommand.self,
    ])
}
