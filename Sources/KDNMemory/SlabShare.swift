internal import KDNCore

/// One client's right to have a slab mapped; it ends when this is dropped, such as with the
/// client's connection.
///
/// A sealed memfd can be neither shortened nor emptied, so its memory lasts as long as anybody has
/// it mapped. What was handed on to another owner meanwhile is *stranded*: it counts in no slab any
/// more, and whoever passes slabs to clients keeps it within limits.
package final class SlabShare: Sendable {
  private let uses: SlabUses

  init(_ uses: SlabUses) {
    self.uses = uses
    uses.began()
  }

  deinit { uses.ended() }
}

/// How many clients may have one slab mapped; outlives the slab.
final class SlabUses: Sendable {
  private struct State {
    var shares = 0
    var isSlabGone = false
  }

  private let byteCount: Int
  private let stranded: StrandedMemory
  private let state = Guarded(State())

  init(byteCount: Int, stranded: StrandedMemory) {
    self.byteCount = byteCount
    self.stranded = stranded
  }

  /// Whether any client may have it mapped.
  var isShared: Bool { state.withLock { $0.shares > 0 } }

  func began() {
    state.withLock { $0.shares += 1 }
  }

  func ended() {
    let frees = state.withLock { state in
      state.shares -= 1
      return state.isSlabGone && state.shares == 0
    }
    if frees { stranded.add(-byteCount) }
  }

  func slabGone() {
    let strands = state.withLock { state in
      state.isSlabGone = true
      return state.shares > 0
    }
    if strands { stranded.add(byteCount) }
  }
}

/// Bytes that only clients hold any more.
final class StrandedMemory: Sendable {
  private let bytes = Guarded(0)

  var byteCount: Int { bytes.withLock { $0 } }

  func add(_ count: Int) {
    bytes.withLock { $0 += count }
  }
}
