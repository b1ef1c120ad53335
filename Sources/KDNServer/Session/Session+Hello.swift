internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// Who may enter, and when those who may not are told.
extension Session {
  /// HELLO: lets the client in, or has it refused.
  ///
  /// Whatever was wrong with name and token looks the same from outside: one answer, a fixed time
  /// after the HELLO. Right tokens are never made to wait.
  func welcome(_ hello: HelloRequest, _ id: UInt64, now: Instant, on loop: isolated Loop) {
    let name = try? NamespaceName(hello.namespace)
    // A name that cannot be costs the same work as one that is not there.
    guard let pass = admit(hello, name ?? Self.nobody, now: now), name != nil else {
      return refuseLater(id, now: now, on: loop)
    }
    do throws(Refusal) {
      let member = try enter(pass, now: now)
      self.member = member
      open(makeShare(of: member))
      machine.welcomed(limits: limits, places: places)
      decoder.maxBodyBytes = limits.maxBodyBytes
      let answer = HelloResponse(
        limits: limits, links: links, namespaceGeneration: member.namespace.generation,
        serverID: context.serverID, server: context.serverName)
      send(.hello(answer), id)
      times.count(.hello, .ok, nanoseconds: loop.now().nanoseconds(since: now))
    } catch {
      machine.refusedHello()
      sendError(id, Operation.hello.rawValue, error, arrival: now, now: loop.now())
      closesWhenFlushed = true
    }
  }

  /// Tells a client that its HELLO is refused, once that is due.
  func answerRefusal(now: Instant) {
    guard let refusal, refusal.due <= now else { return }
    self.refusal = nil
    machine.refusedHello()
    sendError(
      refusal.id, Operation.hello.rawValue, Refusal(.unauthorised), arrival: refusal.arrival,
      now: now)
    closesWhenFlushed = true
  }

  /// Whether what let the client in would still let it in.
  func isStillAdmitted(now: Instant) -> Bool {
    guard let member else { return true }
    let generation = context.admission.generation
    guard now >= nextPassCheck || generation != seenTenants else { return true }
    seenTenants = generation
    nextPassCheck = now.advanced(milliseconds: Self.passCheckMilliseconds)
    return context.tenants.holds(
      member.pass, nowMilliseconds: SystemWallClock().milliseconds())
  }

  /// What opens the namespace: a ticket, a token or a certificate; nil if nothing does.
  ///
  /// The fabric encrypts nothing: unless it is trusted, only tickets open anything there.
  private func admit(_ hello: HelloRequest, _ name: NamespaceName, now: Instant) -> TenantPass? {
    if hello.usesTicket { return redeem(hello, name, now: now) }
    guard kind != .rdma || context.settings.values.trustsRDMA else { return nil }
    return context.tenants.admit(
      name, token: hello.token, peerNames: link.peerNames,
      nowMilliseconds: SystemWallClock().milliseconds())
  }

  /// Where payload may be on this connection.
  private var places: Set<PayloadPlace> {
    var places: Set<PayloadPlace> = [.inline]
    if share != nil { places.insert(.sharedMemory) }
    if kind == .rdma { places.insert(.remote) }
    return places
  }

  /// What the daemon serves; shared memory, on a Unix socket, only if this client may have it.
  private var links: LinkKinds {
    var links = context.offers.kinds
    if kind == .unix, share == nil { links.remove(.sharedMemory) }
    return links
  }

  /// Stands for a name that cannot be; whether a tenant is called so does not matter.
  private static let nobody: NamespaceName = {
    guard let name = try? NamespaceName("-") else { preconditionFailure("a dash is a name") }
    return name
  }()

  private func enter(_ pass: TenantPass, now: Instant) throws(Refusal) -> Member {
    let namespace: Namespace
    do {
      namespace = try context.pool.namespace(pass.namespace)
    } catch {
      throw Refusal(error)
    }
    let gate = context.admission.gate(of: namespace, now: now)
    if let limit = gate.enter() {
      throw Refusal(
        .tooManyConnections,
        FieldFault("connections", value: limit, limit: limit, "the namespace has as many open"),
        retryAfterMilliseconds: 1000)
    }
    return Member(namespace: namespace, gate: gate, pass: pass)
  }

  private func refuseLater(_ id: UInt64, now: Instant, on loop: isolated Loop) {
    context.counters.countUnauthorised()
    context.log.notice(
      "a client was not admitted", metadata: ["connection": "\(owner.number)"])
    guard let due = context.refused(link.peerAddress, now: now, deadline: handshakeEnds) else {
      return close(on: loop)
    }
    refusal = PendingRefusal(id: id, arrival: now, due: due)
    loop.wake(at: due)
  }
}
