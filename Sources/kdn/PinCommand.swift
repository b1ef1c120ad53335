internal import ArgumentParser

/// `kdn pin`: objects that shall stay for a time.
struct PinCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "pin",
    abstract: "Keeps opaque objects from eviction for a time; 1 if one is not there.")

  @OptionGroup var common: CommonOptions
  @OptionGroup var wanted: KeyArguments
  @Option(help: "How long, in seconds.")
  var seconds: UInt64 = 3600
  @Flag(help: "End the pins instead.")
  var release = false

  func validate() throws {
    guard (1...31_536_000).contains(seconds) else {
      throw ValidationError("--seconds must be 1 to 31536000; the daemon may allow less")
    }
  }

  func answer() throws -> Bool {
    let client = try common.client()
    let changed =
      release
      ? try client.unpin(wanted.objects)
      : try client.pin(wanted.objects, ttlMilliseconds: seconds * 1000)
    let answers = (0..<changed.count).map { changed[$0] }
    try wanted.show(answers, as: release ? "unpinned" : "pinned", isJSON: common.json)
    return !answers.contains(false)
  }
}
