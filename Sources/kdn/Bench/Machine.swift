internal import Glibc

/// Facts of this machine that results depend on.
enum Machine {
  /// Name and release of the kernel.
  static var kernel: String {
    var name = utsname()
    guard unsafe uname(&name) == 0 else { return "unknown" }
    return unsafe withUnsafeBytes(of: &name.release) { bytes in
      unsafe "Linux " + String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  /// Cores that this process may use.
  static var cores: Int { sysconf(Int32(_SC_NPROCESSORS_ONLN)) }
}
