/// How much work one namespace may have in the daemon; a test makes them small.
struct WorkLimits: Sendable {
  /// Most jobs that wait or run.
  var jobsMax = 1000
  /// Most bytes of their payloads together.
  var payloadBytesMax = 64 << 20
  /// Most jobs that are over and still told of.
  var endedMax = 1000
  /// How long a job is told of once it is over, in milliseconds.
  var endedMilliseconds: UInt64 = 600_000
  /// Most requests that wait for work at once.
  var waitersMax = 256
}
