internal import KDNCore

/// How far one blend is: decides what is done next, and does nothing itself.
///
/// First its documents' chunks are gathered and room for all layers is taken; only then is the
/// first layer written, so that whatever is refused is refused before anything can be seen. Layers
/// are begun in their order. Once it has failed nothing is begun, and what was published is given
/// back to be dropped.
struct BlendAssembly: Sendable {
  enum Phase: Equatable, Sendable {
    /// Chunks are gathered and room is taken.
    case preparing
    /// Layers are written.
    case writing
    /// All layers are published.
    case done
    case failed(MissCause)
  }

  private let layerCount: Int
  private let writersMax: Int
  private(set) var phase = Phase.preparing
  private var next = 0
  private var writing = 0
  private(set) var published = 0

  /// A blend of so many layers, of which `writersMax` may be written at a time.
  init(layerCount: Int, writersMax: Int) {
    precondition(layerCount > 0 && writersMax > 0, "a blend has layers, and somebody writes them")
    self.layerCount = layerCount
    self.writersMax = writersMax
  }

  /// Whether nothing more will happen.
  var isOver: Bool {
    switch phase {
    case .preparing, .writing: false
    case .done, .failed: writing == 0
    }
  }

  /// Chunks and room are there; false if it has failed meanwhile.
  mutating func begin() -> Bool {
    guard phase == .preparing else { return false }
    phase = .writing
    return true
  }

  /// The next layer to write, which must end with `end`; nil if there is none to begin now.
  mutating func nextLayer() -> Int? {
    guard phase == .writing, next < layerCount, writing < writersMax else { return nil }
    defer { next += 1 }
    writing += 1
    return next
  }

  /// Ends the writing of a layer that is visible now; false if the blend has failed meanwhile, so
  /// that the layer must be dropped.
  mutating func end() -> Bool {
    precondition(writing > 0, "no layer is being written")
    writing -= 1
    guard phase == .writing else { return false }
    published += 1
    if published == layerCount { phase = .done }
    return true
  }

  /// Gives the blend up; false if it is done or has failed already.
  mutating func fail(_ cause: MissCause) -> Bool {
    guard phase == .preparing || phase == .writing else { return false }
    phase = .failed(cause)
    return true
  }
}
