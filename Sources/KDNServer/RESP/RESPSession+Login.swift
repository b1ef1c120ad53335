internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// What a connection became by its login, or without one where that is enough.
struct RESPLogin {
  let namespace: Namespace
  let gate: TenantGate
  let pass: TenantPass
  let keyspace: RESPKeyspace
}

/// A login that will be refused; until then its connection reads nothing.
struct PendingLogin {
  /// When to answer.
  let due: Instant
}

/// Who may enter, and when those who may not are told.
extension RESPSession {
  /// Lets a client in that need not log in; others may only log in.
  func enterWithoutLogin(now: Instant) {
    guard let pass = context.tenants.admitWithoutLogin(preset: settings.namespace) else {
      decoder.requiresAuthentication = true
      return
    }
    do throws(RESPError) {
      login = try enter(pass, now: now)
    } catch {
      fail(error)
    }
  }

  /// AUTH.
  func authenticate(_ credentials: RESPCredentials, now: Instant, on loop: isolated Loop) {
    guard admit(credentials, now: now, on: loop) else { return }
    let encoder = conversation.encoder
    replies.write { encoder.ok(to: &$0) }
  }

  /// HELLO, perhaps with a login.
  func hello(_ hello: RESPHello, now: Instant, on loop: isolated Loop) {
    if let credentials = hello.credentials {
      guard admit(credentials, now: now, on: loop) else { return }
    }
    guard login != nil else {
      let encoder = conversation.encoder
      return replies.write { encoder.error(.helloNeedsAuthentication, to: &$0) }
    }
    replies.write { conversation.greet(hello, to: &$0) }
  }

  /// RESET: as if the connection were new.
  func reset(now: Instant) {
    leave()
    replies.write { conversation.reset(to: &$0) }
    handshakeEnds = now.advanced(milliseconds: UInt64(limits.handshakeTimeoutMilliseconds))
    enterWithoutLogin(now: now)
  }

  /// Gives the place of a login back.
  func leave() {
    login?.gate.leave()
    login = nil
  }

  /// Tells a client that its login is refused, once that is due.
  func answerRefusal(now: Instant, on loop: isolated Loop) {
    guard let refusal, refusal.due <= now else { return }
    self.refusal = nil
    refuse(.wrongPassword)
    resume(on: loop)
  }

  /// Whether what let the client in would still let it in.
  func isStillAdmitted(now: Instant) -> Bool {
    guard let login else { return true }
    let generation = context.admission.generation
    guard now >= nextPassCheck || generation != seenTenants else { return true }
    seenTenants = generation
    nextPassCheck = now.advanced(milliseconds: Self.passCheckMilliseconds)
    return context.tenants.holds(login.pass, nowMilliseconds: SystemWallClock().milliseconds())
  }

  /// Writes an error in the place of a reply.
  func refuse(_ error: RESPError) {
    context.counters.countError()
    let encoder = conversation.encoder
    replies.write { encoder.error(error, to: &$0) }
  }

  private func admit(
    _ credentials: RESPCredentials, now: Instant, on loop: isolated Loop
  ) -> Bool {
    let wall = SystemWallClock().milliseconds()
    guard let pass = pass(of: credentials, nowMilliseconds: wall) else {
      refuseLater(now: now, on: loop)
      return false
    }
    do throws(RESPError) {
      let entered = try enter(pass, now: now)
      leave()
      login = entered
      decoder.requiresAuthentication = false
      conversation.userName = pass.namespace.text
      return true
    } catch {
      refuse(error)
      return false
    }
  }

  /// The user is the namespace; `default`, which clients say of themselves, only if there is such
  /// a namespace: else the password alone tells.
  private func pass(of credentials: RESPCredentials, nowMilliseconds: UInt64) -> TenantPass? {
    let token = String(decoding: credentials.password, as: UTF8.self)
    guard Array(token.utf8) == credentials.password else { return nil }
    if let user = credentials.user {
      let name = try? NamespaceName(user)
      // A name that cannot be costs the same work as one that is not there.
      let pass = context.tenants.admit(
        name ?? Self.nobody, token: token, peerNames: [], nowMilliseconds: nowMilliseconds)
      if let pass, name != nil { return pass }
      guard user == RESPConversation.defaultUserName else { return nil }
    }
    return context.tenants.admit(token: token, nowMilliseconds: nowMilliseconds)
  }

  private func enter(_ pass: TenantPass, now: Instant) throws(RESPError) -> RESPLogin {
    guard let namespace = try? context.pool.namespace(pass.namespace) else {
      throw .busy("no place for the namespace until the next start")
    }
    let gate = context.admission.gate(of: namespace, now: now)
    guard gate.enter() == nil else { throw RESPError("max number of clients reached") }
    return RESPLogin(
      namespace: namespace, gate: gate, pass: pass,
      keyspace: context.keyspaces.keyspace(of: namespace))
  }

  private func refuseLater(now: Instant, on loop: isolated Loop) {
    context.counters.countUnauthorised()
    context.log.notice(
      "a client was not admitted", metadata: ["connection": "\(owner.number)"])
    // Who is in already may try for longer than a stranger, but no faster.
    let deadline =
      login == nil
      ? handshakeEnds
      : now.advanced(milliseconds: UInt64(limits.handshakeTimeoutMilliseconds))
    guard let due = context.refused(link.peerAddress, now: now, deadline: deadline) else {
      return close(on: loop)
    }
    refusal = PendingLogin(due: due)
    loop.wake(at: due)
  }

  private static let nobody: NamespaceName = {
    guard let name = try? NamespaceName("-") else { preconditionFailure("a dash is a name") }
    return name
  }()
}
