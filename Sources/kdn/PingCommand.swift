internal import ArgumentParser
internal import KDNCore

/// `kdn ping`: is the daemon there, and how fast does it answer.
struct PingCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "ping", abstract: "Asks the daemon for a sign of life.")

  @OptionGroup var common: CommonOptions
  @Option(help: "How many times.")
  var count = 1

  func validate() throws {
    guard (1...1_000_000).contains(count) else {
      throw ValidationError("--count must be 1 to 1000000")
    }
  }

  func answer() throws -> Bool {
    let client = try common.client()
    let clock = SystemClock()
    for _ in 0..<count {
      let start = clock.now()
      try client.ping()
      let microseconds = Double(clock.now().nanoseconds(since: start)) / 1000
      if common.json {
        try Output.line(["round_trip_microseconds": microseconds])
      } else {
        Output.line("\(try common.serverAddress()): \(Output.decimal(microseconds, digits: 1)) us")
      }
    }
    return true
  }
}
