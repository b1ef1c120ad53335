internal import KDNCore

/// Blending of one pool: who does it, and what is under way.
final class Blending: Sendable {
  let executor: any CodingExecutor
  let settings: BlendSettings
  let table: Guarded<BlendTable>

  init(_ executor: any CodingExecutor, _ settings: BlendSettings) {
    self.executor = executor
    self.settings = settings
    table = Guarded(BlendTable(settings))
  }
}
