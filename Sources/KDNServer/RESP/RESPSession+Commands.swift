internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension RESPSession {
  /// Carries an event out, or lets it wait for the reads before it.
  func handle(_ event: RESPDecoder.Event, on loop: isolated Loop) {
    guard replies.awaitedCount == 0 || !event.waitsForReads else {
      stalled = event
      return
    }
    let now = loop.now()
    switch event {
    case .command(let command):
      context.counters.countRequest()
      login?.gate.counters.countRequest()
      carryOut(command, now: now, on: loop)
    case .refused(let error): refuse(error)
    case .valueBegins(let name, let byteCount): begin(name, byteCount: byteCount, now: now)
    case .valueEnds(let options):
      context.counters.countRequest()
      login?.gate.counters.countRequest()
      endStore(options, now: now, on: loop)
    case .valueRefused(let error):
      endStore()
      refuse(error)
    }
  }

  /// Goes on with what waited for reads that are over now, then with what came behind it.
  func goOn(on loop: isolated Loop) {
    guard !isClosed, !closesWhenFlushed, change == nil else { return }
    if let event = stalled, replies.awaitedCount == 0 {
      stalled = nil
      handle(event, on: loop)
    }
    _ = handleEvents(on: loop)
  }

  private func carryOut(_ command: RESPCommand, now: Instant, on loop: isolated Loop) {
    var answer = ByteWriter()
    if conversation.answer(command, to: &answer) {
      return replies.write { $0.put(contentsOf: answer.bytes) }
    }
    switch command {
    case .hello(let hello): self.hello(hello, now: now, on: loop)
    case .auth(let credentials): authenticate(credentials, now: now, on: loop)
    case .reset: reset(now: now)
    case .quit:
      let encoder = conversation.encoder
      replies.write { encoder.ok(to: &$0) }
      closesWhenFlushed = true
    default:
      guard let login else { return refuse(.noAuthentication) }
      guard login.gate.takeRequest(now: now) == nil else {
        return refuse(.rateExceeded, of: command)
      }
      carryOut(command, login, now: now, on: loop)
    }
  }

  private func carryOut(
    _ command: RESPCommand, _ login: RESPLogin, now: Instant, on loop: isolated Loop
  ) {
    let encoder = conversation.encoder
    switch command {
    case .get(let name): load([name], isMany: false, login, now: now, on: loop)
    case .mget(let names): load(names, isMany: true, login, now: now, on: loop)
    case .exists(let names):
      let count = exists(names, login)
      replies.write { encoder.integer(count, to: &$0) }
      self.count(.exists, .ok, since: now, now: loop.now(), items: names.count)
    case .delete(let names): delete(names, login, now: now, on: loop)
    case .strlen(let name):
      let length = context.pool.byteCount(of: Self.key(name), in: login.namespace) ?? 0
      replies.write { encoder.integer(length, to: &$0) }
    case .type(let name):
      let isHere = context.pool.contains(Self.key(name), in: login.namespace)
      replies.write { encoder.simple(isHere ? "string" : "none", to: &$0) }
    case .timeToLive(let name, let inMilliseconds):
      let left = context.pool.timeToLive(of: Self.key(name), in: login.namespace)
      replies.write { encoder.integer(left.number(inMilliseconds: inMilliseconds), to: &$0) }
    case .expire(let name, let expiry, let condition):
      expire(name, expiry, condition, login, on: loop)
    case .persist(let name): persist(name, login, on: loop)
    case .scan(let scan): self.scan(scan, login)
    case .info(let sections): tell(sections, login)
    case .databaseSize:
      let count = context.pool.count(of: login.namespace).objects
      replies.write { encoder.integer(count, to: &$0) }
    case .flush: flushAll(login, now: now, on: loop)
    case .hello, .auth, .client, .ping, .echo, .select, .quit, .reset, .configGet, .commandTable:
      preconditionFailure("\(command) is not about keys")
    }
  }

  /// The object's name: the SHA-256 of the key's bytes, as native clients name opaque objects.
  static func key(_ name: [UInt8]) -> ObjectKey { ObjectKey(opaque: HashChain.opaque(name)) }

  // MARK: Clients that do not parse replies

  /// Whether the client takes for granted how long the reply to a command with this key is.
  func readsBlindly(_ name: [UInt8]) -> Bool {
    guard conversation.isPlain else { return false }
    return switch settings.padding {
    case .off: false
    case .on: true
    case .auto: LMCacheKey(name) != nil
    }
  }

  /// Answers a command with an error, in the form that its client can read.
  private func refuse(_ error: RESPError, of command: RESPCommand) {
    switch command {
    case .get(let name) where readsBlindly(name):
      context.counters.countError()
      guard let length = awaitedLength(of: name) else {
        closesWhenFlushed = true
        return
      }
      let encoder = conversation.encoder
      replies.write { encoder.paddedMiss(expectedValueBytes: length, to: &$0) }
    case .exists(let names) where names.count == 1 && readsBlindly(names[0]),
      .delete(let names) where names.count == 1 && readsBlindly(names[0]):
      context.counters.countError()
      let encoder = conversation.encoder
      replies.write { encoder.integer(0, to: &$0) }
    default: refuse(error)
    }
  }

  /// How long the value is that the client awaits; nil if nothing tells.
  func awaitedLength(of name: [UInt8]) -> Int? {
    if let own = ownLengths.length(likeOf: name) { return own }
    guard let login else { return nil }
    return context.pool.keptByteCount(of: Self.key(name), in: login.namespace)
      ?? login.keyspace.length(likeOf: name)
  }

  // MARK: Commands that change something

  /// Carries out a change; no other command begins before it is over.
  ///
  /// - Parameters:
  ///   - loop: the session's.
  ///   - begin: starts it; what it is given is called once, on any thread.
  ///   - answer: writes the reply.
  func change<Result: Sendable>(
    on loop: isolated Loop, _ begin: (@escaping @Sendable (Result) -> Void) -> Void,
    answer: @escaping @Sendable (RESPSession, Result, inout ByteWriter) -> Void
  ) {
    let prompt = PromptAnswer<Result>()
    let signal = LoopSignal(loop: loop, session: self)
    begin { result in
      guard !prompt.keep(result) else { return }
      signal.raise { session, loop in
        guard let number = session.change else { return }
        session.change = nil
        var writer = ByteWriter(capacity: 32)
        answer(session, result, &writer)
        session.replies.fill(number, [.bytes(writer.bytes)])
        session.goOn(on: loop)
      }
    }
    if let result = prompt.take() {
      var writer = ByteWriter(capacity: 32)
      answer(self, result, &writer)
      return replies.write { $0.put(contentsOf: writer.bytes) }
    }
    change = replies.reserve()
  }
}

extension RESPDecoder.Event {
  /// Whether it must not be carried out before reads that began earlier are over.
  fileprivate var waitsForReads: Bool {
    switch self {
    case .valueEnds: true
    case .command(let command):
      switch command {
      case .delete, .expire, .persist, .flush, .hello, .auth, .reset, .quit: true
      default: false
      }
    case .valueBegins, .valueRefused, .refused: false
    }
  }
}

extension TimeToLive {
  /// As TTL and PTTL tell it.
  fileprivate func number(inMilliseconds: Bool) -> Int {
    switch self {
    case .absent: -2
    case .endless: -1
    case .milliseconds(let left):
      Int(clamping: inMilliseconds ? left : left / 1000 + (left % 1000 >= 500 ? 1 : 0))
    }
  }
}

extension RESPError {
  static let rateExceeded = RESPError.busy("the namespace has used up its rate")

  /// What the pool refused.
  init(_ refusal: PoolRefusal) {
    switch refusal {
    case .busy, .overQuota: self = .outOfMemory
    case .tooLarge(_, let limit):
      self.init("the value is larger than the \(limit) bytes that can be kept")
    case .unavailable: self = .busy("the disk tier has failed")
    case .notFound(let what, _): self = .busy("the \(what) is gone")
    case .fault(let fault), .limit(let fault): self.init("\(fault)")
    case .conflict: self = .busy("the key is being stored")
    }
  }
}
