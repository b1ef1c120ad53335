internal import KDNCore
internal import KDNPool
internal import KDNTier

/// Encodes and decodes in the background: the pool's coder, its threads and its policy.
final class CodecService: Sendable {
  /// Threads that decode for readers who cannot; more than one, since one may wait for a profile.
  private static let decodingThreads = 2
  /// Encoding runs only where nobody else would.
  private static let encodingNiceness: Int32 = 10

  private let context: ServerContext
  private let profiles: LoadedProfiles
  private let current: Guarded<ConfigurationState>

  /// Starts the threads; nothing is encoded before `apply`.
  ///
  /// - Throws: `memory` if the kernel gives no thread.
  init(
    _ context: ServerContext, _ state: ConfigurationState
  ) throws(StartError) {
    self.context = context
    current = Guarded(state)
    profiles = LoadedProfiles(pool: context.pool)
    var settings = CodingSettings()
    settings.cpuPercent = state.configuration.codecs.processorPercent
    settings.workersMax = max(1, (settings.cpuPercent + 99) / 100)
    do {
      context.pool.startCoding(
        StoredCoder(profiles: profiles),
        decoding: try BackgroundThreads(count: Self.decodingThreads, name: "kdn.decode"),
        encoding: try BackgroundThreads(
          count: settings.workersMax, name: "kdn.encode", niceness: Self.encodingNiceness),
        settings: settings)
    } catch {
      throw .memory("threads for codecs: \(error)")
    }
    context.profiles.setAdopter(profiles)
    profiles.onChange { [weak self] in self?.update() }
  }

  /// Lets what `state` says of codecs hold.
  func apply(_ state: ConfigurationState) {
    current.withLock { $0 = state }
    update()
  }

  private func update() {
    let state = current.withLock { $0 }
    context.pool.setEncodingPolicy(
      state.configuration.codecs.policy(state.snapshot, ready: profiles.ready))
  }
}
