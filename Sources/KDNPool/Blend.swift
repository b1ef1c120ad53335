internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// One blend of a tenant, from its order to the end of its last layer.
final class Blend: Sendable {
  typealias Completion = @Sendable (Result<Void, BlendRefusal>) -> Void

  /// How an order for a blend that there is goes on.
  enum Joining: Equatable, Sendable {
    /// It will be answered when room is taken.
    case waiting
    /// Its layers are being written.
    case writing
    /// All layers were published.
    case done
    /// It failed just now: it is on its way out.
    case failed
    /// Too many wait for it.
    case full
  }

  /// A layer that is to be written: everything that takes.
  struct Step: Sendable {
    let layer: BlendLayer
    let room: FlightRoom
    let sources: BlendSources
  }

  fileprivate struct State: Sendable {
    var assembly: BlendAssembly
    var completions: [Completion] = []
    var fetch: Fetch?
    /// Either the fetch or its end has been noted.
    var hasFetchNews = false
    var sources: BlendSources?
    var rooms: [FlightRoom] = []
    /// Published layers, which nothing evicts before the last one is there.
    var holds: [Fetch.Hold] = []
    var chargedBytes = 0
  }

  let order: BlendOrder
  let namespace: Namespace
  let generation: UInt64
  let started: Instant
  private let state: Guarded<State>

  init(_ order: BlendOrder, in namespace: Namespace, now: Instant, writersMax: Int) {
    self.order = order
    self.namespace = namespace
    generation = namespace.generation
    started = now
    state = Guarded(
      State(
        assembly: BlendAssembly(layerCount: order.layers.count, writersMax: writersMax)))
  }

  var name: BlendTable.Name { BlendTable.Name(namespace: namespace.number, hash: order.hash) }

  var phase: BlendAssembly.Phase { state.withLock { $0.assembly.phase } }

  /// Adds somebody who wants the blend, if that must wait.
  func join(_ completion: @escaping Completion, waitersMax: Int) -> Joining {
    state.withLock { state in
      switch state.assembly.phase {
      case .writing: return .writing
      case .done: return .done
      case .failed: return .failed
      case .preparing:
        guard state.completions.count < waitersMax else { return .full }
        state.completions.append(completion)
        return .waiting
      }
    }
  }

  /// Notes the memory charged for what the blend keeps of its chunks, to be refunded at its end;
  /// false if it has failed meanwhile.
  func note(chargedBytes: Int) -> Bool {
    state.withLock { state in
      guard state.assembly.phase == .preparing else { return false }
      state.chargedBytes = chargedBytes
      return true
    }
  }

  /// Takes that charge back.
  func takeCharge() -> Int {
    state.withLock { state in
      defer { state.chargedBytes = 0 }
      return state.chargedBytes
    }
  }

  /// Notes the fetch of its chunks, or its end, whichever comes first; true for the one that comes
  /// second, who goes on.
  ///
  /// The fetch of a blend that has failed meanwhile is given up.
  func note(_ fetch: Fetch?) -> Bool {
    let (isSecond, isWanted) = state.withLock { state in
      if let fetch { state.fetch = fetch }
      defer { state.hasFetchNews.toggle() }
      return (state.hasFetchNews, state.assembly.phase == .preparing)
    }
    if !isWanted { takeFetch()?.cancel() }
    return isSecond && isWanted
  }

  /// The fetch of its chunks, which is over.
  func takeFetch() -> Fetch? {
    state.withLock { state in
      defer { state.fetch = nil }
      return state.fetch
    }
  }

  /// Chunks and room are there: gives back who waits for that; nil if it has failed meanwhile.
  func begin(_ sources: BlendSources, _ rooms: [FlightRoom]) -> [Completion]? {
    state.withLock { state in
      guard state.assembly.begin() else { return nil }
      state.sources = sources
      state.rooms = rooms
      defer { state.completions = [] }
      return state.completions
    }
  }

  /// The next layer to write; nil if there is none to begin now.
  func nextStep() -> Step? {
    state.withLock { state in
      guard let sources = state.sources, let index = state.assembly.nextLayer() else { return nil }
      return Step(layer: order.layers[index], room: state.rooms[index], sources: sources)
    }
  }

  /// What was kept for a blend that is over; to be dropped outside of all locks.
  struct Remains: Sendable {
    fileprivate(set) var completions: [Completion] = []
    fileprivate(set) var published: [StoredObject] = []
    fileprivate(set) var fetch: Fetch?
    fileprivate(set) var chargedBytes = 0
    private var sources: BlendSources?
    private var rooms: [FlightRoom] = []
    private var holds: [Fetch.Hold] = []

    fileprivate init(of state: inout State) {
      completions = state.completions
      published = state.holds.map(\.object)
      fetch = state.fetch
      chargedBytes = state.chargedBytes
      (sources, rooms, holds) = (state.sources, state.rooms, state.holds)
      (state.completions, state.fetch, state.chargedBytes) = ([], nil, 0)
      (state.sources, state.rooms, state.holds) = (nil, [], [])
    }
  }

  /// How writing a layer ended.
  enum LayerEnd: Sendable {
    case published
    case last(Remains)
    /// The blend has failed meanwhile.
    case unwanted(MissCause)
  }

  /// Notes that a layer is visible.
  func end(_ hold: Fetch.Hold) -> LayerEnd {
    state.withLock { state in
      guard state.assembly.end() else {
        guard case .failed(let cause) = state.assembly.phase else { return .unwanted(.evicted) }
        return .unwanted(cause)
      }
      state.holds.append(hold)
      guard state.assembly.phase == .done else { return .published }
      return .last(Remains(of: &state))
    }
  }

  /// Gives the blend up; nil if it is over.
  func fail(_ cause: MissCause) -> Remains? {
    state.withLock { state in
      guard state.assembly.fail(cause) else { return nil }
      return Remains(of: &state)
    }
  }
}
