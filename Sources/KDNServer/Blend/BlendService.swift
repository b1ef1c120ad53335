internal import KDNCore
internal import KDNPool
internal import KDNTier

/// The threads that assemble blends, and what edits make of documents.
enum BlendService {
  /// Starts them, and lets the pool assemble.
  ///
  /// - Throws: `memory` if the kernel gives no thread.
  static func start(_ pool: Pool, _ configuration: BlendConfiguration) throws(StartError) {
    pool.startEditing(RecipeFormer())
    var settings = BlendSettings()
    settings.writersMax = configuration.workers
    settings.ttlMilliseconds = UInt64(configuration.ttlSeconds) * 1000
    do {
      pool.startBlending(
        try BackgroundThreads(count: configuration.workers, name: "kdn.blend"),
        settings: settings)
    } catch {
      throw .memory("threads for blends: \(error)")
    }
  }
}
