internal import ArgumentParser
internal import Glibc
internal import KDNCore

/// The command line of a KDN node.
struct KDNCommand: ParsableCommand {
  /// The version, also told to daemons.
  static let version = Version.text

  static let configuration = CommandConfiguration(
    commandName: "kdn",
    abstract: "Asks a KDN daemon, measures it, and looks into its directories.",
    discussion: """
      Exit codes: 0 done, 1 a miss or another negative answer, 2 an error, 64 wrong usage. \
      --generate-completion-script bash, zsh or fish writes the completion for a shell.
      """,
    version: "kdn \(version)",
    subcommands: [
      PingCommand.self, InfoCommand.self, StatsCommand.self, PutCommand.self, GetCommand.self,
      ExistsCommand.self, MatchCommand.self, PinCommand.self, PurgeCommand.self,
      TopCommand.self, DoctorCommand.self, ConfigCommand.self, SlowlogCommand.self,
      LearnFilesCommand.self, JobsCommand.self, ObjectsCommand.self, DocsCommand.self,
      EditCommand.self, NamespaceCommand.self, RecodeCommand.self,
      ReloadCommand.self, LogLevelCommand.self, DrainCommand.self, FsckCommand.self,
      DumpCommand.self,
      ProfileCommand.self, CodecCommand.self, BenchCommand.self, CeilingPeer.self,
    ])
}

/// A command whose errors end the program with code 2 and one line.
protocol DaemonCommand: ParsableCommand {
  /// Does the work; returns false for a miss or another negative answer.
  func answer() throws -> Bool
}

extension DaemonCommand {
  func run() throws {
    _ = signal(SIGPIPE, SIG_IGN)
    let isPositive: Bool
    do {
      isPositive = try answer()
    } catch let error as ValidationError {
      throw error
    } catch {
      Output.complain("\(error)")
      throw ExitCode(2)
    }
    guard isPositive else { throw ExitCode(1) }
  }
}
