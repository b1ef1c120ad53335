internal import Dispatch

/// Ends engines away from their own threads.
enum EngineShutdown {
  static func run(_ engines: [any DiskEngine], then completion: @escaping @Sendable () -> Void) {
    DispatchQueue.global(qos: .utility).async { @Sendable in
      for engine in engines { engine.shutDown() }
      completion()
    }
  }
}
