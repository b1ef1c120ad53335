internal import Glibc

/// Why a benchmark cannot go on.
enum BenchError: Error, CustomStringConvertible {
  /// A system call failed.
  case system(call: String, code: Int32)
  /// The other side closed the connection in the middle of an answer.
  case peerClosed(target: String)
  /// The other side answered something else than the workload needs.
  case refused(target: String, answer: String)
  /// The bytes that came back are not those that were stored.
  case wrongBytes(target: String, object: Int)

  /// The last system call's failure.
  static func last(_ call: String) -> BenchError { .system(call: call, code: errno) }

  var description: String {
    switch self {
    case .system(let call, let code): "\(call) failed with errno \(code)"
    case .peerClosed(let target): "\(target) closed the connection"
    case .refused(let target, let answer): "\(target) answered: \(answer)"
    case .wrongBytes(let target, let object):
      "\(target) gave other bytes for object \(object) than were stored"
    }
  }
}
