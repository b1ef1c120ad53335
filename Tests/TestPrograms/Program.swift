import Glibc

/// A program of the system that a test has started.
///
/// Not Foundation's `Process`: with more than some thousand files open it reads beyond the end of
/// the buffer of a directory, since it copies whole `dirent`s out of it, and sometimes dies of it.
package final class Program {
  /// The kernel would not start it.
  package struct NotStarted: Error {
    /// What was to be started.
    package let arguments: [String]
    /// Of `posix_spawnp`.
    package let code: Int32
  }

  private let number: pid_t
  private var ending: Int32?

  /// Starts the program that the first of `arguments` names, with this process's environment.
  ///
  /// It hears nothing, and says nothing but what goes to `output`, a descriptor that stays the
  /// caller's; no other file of this process stays open in it.
  ///
  /// - Throws: `NotStarted`.
  package init(_ arguments: [String], output: Int32? = nil) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
    if let output {
      posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    } else {
      posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
    }
    CloseFrom.add(to: &actions, STDERR_FILENO + 1)
    var words = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var number = pid_t()
    let code = posix_spawnp(&number, arguments[0], &actions, nil, &words, environ)
    guard code == 0 else { throw NotStarted(arguments: arguments, code: code) }
    self.number = number
  }

  /// Whether it has not ended yet.
  package var isRunning: Bool { ended(options: WNOHANG) == nil }

  /// Waits for its end and gives its exit code; minus the signal's number if one ended it.
  @discardableResult
  package func wait() -> Int32 { ended(options: 0) ?? -1 }

  private func ended(options: Int32) -> Int32? {
    if let ending { return ending }
    var status: Int32 = 0
    var result = waitpid(number, &status, options)
    while result < 0, errno == EINTR { result = waitpid(number, &status, options) }
    guard result != 0 else { return nil }
    precondition(result == number, "waitpid: errno \(errno)")
    let signal = status & 0x7f
    ending = signal == 0 ? status >> 8 & 0xff : -signal
    return ending
  }
}

/// What Swift's Glibc module does not import.
private enum CloseFrom {
  private typealias Add =
    @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32

  /// Has all descriptors from `first` on closed.
  static func add(to actions: inout posix_spawn_file_actions_t, _ first: Int32) {
    guard let place = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np") else {
      preconditionFailure("glibc is older than 2.34")
    }
    _ = unsafeBitCast(place, to: Add.self)(&actions, first)
  }
}
