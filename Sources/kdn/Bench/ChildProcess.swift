internal import FoundationEssentials
internal import Glibc

/// A child that runs this same program with other arguments.
struct ChildProcess: ~Copyable {
  /// The child's process id.
  let pid: Int32

  /// Starts the program again with `arguments`.
  ///
  /// - Throws: `system` if the kernel refuses.
  init(arguments: [String]) throws(BenchError) {
    let environment = ProcessInfo.processInfo.environment.map { "\($0)=\($1)" }
    var child: pid_t = 0
    let code = unsafe Self.withCStrings(["kdn"] + arguments) { arguments in
      unsafe Self.withCStrings(environment) { environment in
        unsafe posix_spawn(&child, "/proc/self/exe", nil, nil, arguments, environment)
      }
    }
    guard code == 0 else { throw .system(call: "posix_spawn", code: code) }
    pid = child
  }

  /// Waits until the child has ended, which it does when its connections close.
  consuming func wait() {
    var status: Int32 = 0
    while unsafe waitpid(pid, &status, 0) < 0, errno == EINTR {}
  }

  private static func withCStrings(
    _ texts: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Int32
  ) -> Int32 {
    var copies = unsafe texts.map { unsafe strdup($0) }
    unsafe copies.append(nil)
    defer { for index in unsafe copies.indices { unsafe free(copies[index]) } }
    return unsafe copies.withUnsafeBufferPointer { pointers in
      guard let base = pointers.baseAddress else { return EINVAL }
      return unsafe body(base)
    }
  }
}
