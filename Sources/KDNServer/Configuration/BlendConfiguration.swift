/// How blends of documents are assembled.
package struct BlendConfiguration: Sendable, Equatable {
  /// Threads that assemble, at least 1.
  package var workers: Int
  /// How long assembled KV lives.
  package var ttlSeconds: Int

  /// Puts the settings together.
  package init(workers: Int, ttlSeconds: Int) {
    self.workers = workers
    self.ttlSeconds = ttlSeconds
  }
}
