internal import ArgumentParser

/// `kdn exists`: are these objects there.
struct ExistsCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "exists", abstract: "Tells which opaque objects are there; 1 if one is not.")

  @OptionGroup var common: CommonOptions
  @OptionGroup var wanted: KeyArguments

  func answer() throws -> Bool {
    let present = try common.client().exists(wanted.objects)
    let answers = (0..<present.count).map { present[$0] }
    try wanted.show(answers, as: "present", isJSON: common.json)
    return !answers.contains(false)
  }
}
