internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// CODEC_PROFILE: profiles are objects, found and read like any other.
extension Session {
  /// Answers a list at once; reads the bytes for the other verbs, from disk if need be.
  func profile(
    _ request: CodecProfileRequest, _ call: Call, on loop: isolated Loop
  ) throws(Refusal) {
    switch request {
    case .list(let layout):
      let rows = context.profiles.list(layout, in: call.namespace.name)
      respond(
        .codecProfile(.listed(Array(rows.prefix(CodecProfileResponse.listMax)))), call,
        now: loop.now())
    case .get(let hash), .use(let hash):
      let item = GetRequest.Item(key: CodecProfileRequest.key(of: hash))
      try get(GetRequest(items: [item]), call, on: loop)
    }
  }

  /// Takes the profile that was read into use; answers once it has been checked.
  func useProfile(
    _ item: GetRequest.Item, of get: GetRequest, _ call: Call, fetch: Fetch?, isLate: Bool,
    on loop: isolated Loop
  ) throws(Refusal) {
    let key = item.key
    switch found(item, of: get, call.namespace, fetch: fetch, isLate: isLate) {
    case .miss(let cause): throw Refusal(noProfile: cause)
    case .hit(let hit):
      try pin(key, in: call.namespace)
      let id = call.id
      let serial = answerLater(call, on: loop)
      let signal = LoopSignal(loop: loop, session: self)
      context.profiles.use(key.hash, hit, in: call.namespace) { result in
        signal.raise { session, loop in
          let answer = result.map { Response.codecProfile(.used($0)) }.mapError { Refusal($0) }
          session.finish(id, serial, answer, now: loop.now())
        }
      }
    }
  }

  private func pin(_ key: ObjectKey, in namespace: Namespace) throws(Refusal) {
    let isPinned: Bool
    do {
      let pins = try context.pool.pin(
        [key], ttlMilliseconds: limits.maxPinMilliseconds, in: namespace)
      isPinned = pins == [true]
    } catch {
      throw Refusal(error)
    }
    guard isPinned else { throw .unknown("profile", 0, "it has just gone") }
  }
}

extension Refusal {
  /// Why a profile's bytes are not there.
  fileprivate init(noProfile cause: MissCause) {
    switch cause {
    case .overDeadline:
      self.init(.deadline, FieldFault("profile", value: 0, limit: 0, "not read in time"))
    case .notReady, .overCredit: self = .noMemory("profile")
    default: self = .unknown("profile", 0, "nothing is stored under this hash")
    }
  }

  /// Why a profile is not used.
  fileprivate init(_ problem: CodecProfiles.Problem) {
    switch problem {
    case .fault(let fault): self = .fault(fault)
    case .busy(let count):
      self.init(
        .busy, FieldFault("profile", value: count, limit: count, "so many are being checked"),
        retryAfterMilliseconds: 100)
    }
  }
}
