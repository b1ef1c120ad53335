internal import KDNCodec
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNWire

/// Profiles in memory: those that are in use, and those that stored objects were found to need.
///
/// Their bytes count against the memory of the cache; those not in use make room for others.
final class LoadedProfiles: ProfileAdopting {
  /// Most profiles in memory that are not in use.
  static let idleMax = 16

  private struct Name: Hashable {
    let namespace: NamespaceName
    let hash: ChunkHash
  }

  private struct Use: Hashable {
    let namespace: NamespaceName
    let layout: LayoutID
    let part: Part
    let kind: Profile.Kind
  }

  private struct State {
    var profiles: [Name: Profile] = [:]
    var used: [Use: ChunkHash] = [:]
    /// Those not in use, the one needed longest ago first.
    var idle: [Name] = []
  }

  private let pool: Pool
  private let state = Guarded(State())
  private let changed = Guarded<(@Sendable () -> Void)?>(nil)

  init(pool: Pool) { self.pool = pool }

  /// Calls `body` after each profile that comes into use.
  func onChange(_ body: @escaping @Sendable () -> Void) { changed.withLock { $0 = body } }

  /// Which codecs that need a profile can encode objects of which namespaces.
  var ready: [NamespaceName: Set<PayloadCodec>] {
    state.withLock { state in
      var ready: [NamespaceName: Set<PayloadCodec>] = [:]
      for use in state.used.keys {
        for codec in PayloadCodec.allCases {
          guard let kind = CodecClass(rawValue: codec.rawValue)?.profileKind,
            Self.serves(use.kind, kind)
          else { continue }
          ready[use.namespace, default: []].insert(codec)
        }
      }
      return ready
    }
  }

  /// The profile to encode with; the first one in use of a kind that serves.
  func inUse(_ kind: Profile.Kind, _ layout: LayoutID, in namespace: NamespaceName) -> Profile? {
    state.withLock { state in
      let uses = state.used.filter { use, _ in
        use.namespace == namespace && use.layout == layout && Self.serves(use.kind, kind)
      }
      let best = uses.min { left, right in
        (left.key.kind.rawValue, "\(left.value)") < (right.key.kind.rawValue, "\(right.value)")
      }
      return best.flatMap { state.profiles[Name(namespace: namespace, hash: $0.value)] }
    }
  }

  /// The profile that a stored object needs, read from the pool if it is not in memory; for
  /// background threads.
  func find(_ hash: ChunkHash, in namespace: NamespaceName) -> Profile? {
    let name = Name(namespace: namespace, hash: hash)
    let known = state.withLock { state in
      if let place = state.idle.firstIndex(of: name) {
        state.idle.append(state.idle.remove(at: place))
      }
      return state.profiles[name]
    }
    if let known { return known }
    guard case .found(let bytes) = pool.readProfile(hash, in: namespace),
      let profile = try? Profile(validating: bytes),
      profile.hash.bytes == hash.bytes
    else { return nil }
    return keep(profile, name) ? profile : nil
  }

  func adopt(
    _ bytes: [UInt8], _ facts: CodecProfileFacts, in namespace: Namespace
  ) throws(FieldFault) {
    let profile: Profile
    do throws(CodecFault) {
      profile = try Profile(validating: bytes)
    } catch {
      throw error.profileFault
    }
    let name = Name(namespace: namespace.name, hash: facts.hash)
    guard keep(profile, name) else {
      throw FieldFault("profile", value: bytes.count, limit: 0, "no memory for it now")
    }
    let use = Use(
      namespace: namespace.name, layout: facts.layout, part: facts.part, kind: profile.kind)
    state.withLock { state in
      let old = state.used.updateValue(facts.hash, forKey: use)
      state.idle.removeAll { $0 == name }
      if let old, old != facts.hash {
        state.idle.append(Name(namespace: namespace.name, hash: old))
      }
    }
    trim()
    changed.withLock { $0 }?()
  }

  func forget(_ namespace: NamespaceName) {
    let freed = state.withLock { state in
      var freed = 0
      for (name, profile) in state.profiles where name.namespace == namespace {
        state.profiles[name] = nil
        freed += profile.bytes.count
      }
      for use in state.used.keys where use.namespace == namespace { state.used[use] = nil }
      state.idle.removeAll { $0.namespace == namespace }
      return freed
    }
    if freed > 0 { pool.refundBuffers(freed) }
    changed.withLock { $0 }?()
  }

  var loaded: (count: Int, bytes: Int) {
    state.withLock { state in
      (state.profiles.count, state.profiles.values.reduce(0) { $0 + $1.bytes.count })
    }
  }

  /// Weights are in every profile.
  private static func serves(_ kind: Profile.Kind, _ wanted: Profile.Kind) -> Bool {
    kind == wanted || wanted == .weights
  }

  /// Keeps a profile as one that is not in use; false if there is no memory for it.
  private func keep(_ profile: Profile, _ name: Name) -> Bool {
    guard pool.chargeBuffers(profile.bytes.count) else { return false }
    let isNew = state.withLock { state in
      guard state.profiles.updateValue(profile, forKey: name) == nil else { return false }
      state.idle.append(name)
      return true
    }
    if !isNew { pool.refundBuffers(profile.bytes.count) }
    trim()
    return true
  }

  private func trim() {
    let freed = state.withLock { state in
      var freed = 0
      while state.idle.count > Self.idleMax {
        freed += state.profiles.removeValue(forKey: state.idle.removeFirst())?.bytes.count ?? 0
      }
      return freed
    }
    if freed > 0 { pool.refundBuffers(freed) }
  }
}

extension CodecFault {
  /// The same as a fault of a profile's field.
  fileprivate var profileFault: FieldFault {
    if case .field(let fault) = self {
      return FieldFault(
        "profile.\(fault.field)", value: fault.value, limit: fault.limit, fault.problem)
    }
    return FieldFault("profile", value: 0, limit: 0, description)
  }
}
