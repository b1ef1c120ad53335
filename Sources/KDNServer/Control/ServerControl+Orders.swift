package import KDNControl
internal import KDNCore
internal import KDNPool

extension ServerControl {
  /// Purges by hash reach what is on disk only once that is known: `busy` until then.
  package func purge(
    _ order: PurgeOrder, by who: AdministratorName
  ) async throws(ControlFault) -> PurgeReport {
    var details: [(name: String, value: String)] = [("namespace", order.namespace)]
    do {
      let namespace = try self.namespace(order.namespace)
      let scope = try PurgeTarget(order, namesMax: context.limits.maxKeysPerRequest)
      details.append(("scope", "\(scope)"))
      let count = try await drop(scope, in: namespace)
      details += [("objects", "\(count.objects)"), ("bytes", "\(count.bytes)")]
      audit.granted("purge", by: who, details)
      log.append(
        .purged, by: who,
        "namespace \(namespace.name): \(count.objects) objects of \(count.bytes) bytes dropped, "
          + "\(scope)")
      return PurgeReport(objects: count.objects, bytes: count.bytes)
    } catch {
      audit.refused("purge", by: who, error, details)
      throw error
    }
  }

  /// Pins reach what is on disk only once that is known: `busy` until then.
  package func pin(
    _ order: PinOrder, by who: AdministratorName
  ) async throws(ControlFault) -> PinReport {
    let time = order.ttlMilliseconds ?? 0
    let name = time > 0 ? "pin" : "unpin"
    let details = [
      ("namespace", order.namespace), ("hashes", "\(order.hashes.count)"),
      ("ttl_ms", "\(time)"),
    ]
    do {
      let namespace = try self.namespace(order.namespace)
      let hashes = try HexadecimalNames.hashes(
        order.hashes, field: "hashes", countMax: context.limits.maxKeysPerRequest)
      let count = try keep(hashes, milliseconds: time, in: namespace)
      await settle()
      audit.granted(name, by: who, details + [("objects", "\(count)")])
      log.append(
        .pinned, by: who,
        "namespace \(namespace.name): \(count) objects \(time > 0 ? "pinned" : "unpinned")")
      return PinReport(objects: count)
    } catch {
      audit.refused(name, by: who, error, details)
      throw error
    }
  }

  /// The namespace of that name, if it is a tenant's.
  ///
  /// - Throws: `bad_request` for what is no name, `not_found` if there is no such tenant.
  func namespace(_ text: String) throws(ControlFault) -> Namespace {
    let name: NamespaceName
    do {
      name = try NamespaceName(text)
    } catch {
      throw ControlFault(error)
    }
    guard keeper.limits()[name] != nil else {
      throw ControlFault(.notFound, field: "namespace", "there is no namespace '\(name)'")
    }
    do {
      // Made if nobody has entered it in this run: it may hold objects on disk.
      return try context.pool.namespace(name)
    } catch {
      throw ControlFault(error)
    }
  }

  // MARK: The pool's answers

  private func drop(
    _ target: PurgeTarget, in namespace: Namespace
  ) async throws(ControlFault) -> PurgeCount {
    switch target {
    case .all: return try await purge(.namespace, in: namespace)
    case .layouts(let layouts): return try await purge(.layouts(layouts), in: namespace)
    case .hashes(let hashes):
      return try await purge(.keys(try keys(of: hashes, in: namespace)), in: namespace)
    case .descendants(let hashes):
      let chunks = try await purge(.prefixes(hashes), in: namespace)
      // Opaque objects have no descendants, and prefixes do not reach them.
      let named = try await purge(
        .keys(hashes.map { ObjectKey(opaque: $0) }), in: namespace)
      return PurgeCount(
        objects: chunks.objects + named.objects, bytes: chunks.bytes + named.bytes)
    }
  }

  private func purge(
    _ scope: PurgeScope, in namespace: Namespace
  ) async throws(ControlFault) -> PurgeCount {
    let result = await withCheckedContinuation { done in
      context.pool.purge(scope, in: namespace) { done.resume(returning: $0) }
    }
    return try result.mapError { ControlFault($0) }.get()
  }

  /// All objects of these hashes, in both tiers.
  ///
  /// - Throws: `busy` while the disk tier does not know yet all that it holds.
  private func keys(
    of hashes: [ChunkHash], in namespace: Namespace
  ) throws(ControlFault) -> [ObjectKey] {
    guard context.pool.isTierReady else {
      throw ControlFault(.busy, "what is on disk is still being found out")
    }
    return context.pool.keys(of: hashes, in: namespace)
  }

  private func keep(
    _ hashes: [ChunkHash], milliseconds: UInt64, in namespace: Namespace
  ) throws(ControlFault) -> Int {
    let pool = context.pool
    let keys = try self.keys(of: hashes, in: namespace)
    guard milliseconds > 0 else { return pool.unpin(keys, in: namespace).count { $0 } }
    do {
      return try pool.pin(keys, ttlMilliseconds: milliseconds, in: namespace).count { $0 }
    } catch {
      throw ControlFault(error)
    }
  }

  /// Waits until a crash cannot undo pins; at once if no disk works: then they concern RAM alone.
  private func settle() async {
    await withCheckedContinuation { done in
      context.pool.settle { _ in done.resume() }
    }
  }
}

/// What an administrator wants to be dropped.
enum PurgeTarget: CustomStringConvertible {
  case all
  case layouts([LayoutID])
  /// Every object of these chunks or opaque names.
  case hashes([ChunkHash])
  /// The same, and all that builds on them.
  case descendants([ChunkHash])

  /// Reads an order that names at most `namesMax` things.
  ///
  /// - Throws: `bad_request` unless it has exactly one of hashes, layouts and all.
  init(_ order: PurgeOrder, namesMax: Int) throws(ControlFault) {
    let isAll = order.all ?? false
    guard [order.hashes != nil, order.layouts != nil, isAll].count(where: { $0 }) == 1 else {
      throw ControlFault(.badRequest, "exactly one of hashes, layouts and all belongs here")
    }
    if let texts = order.hashes {
      let hashes = try HexadecimalNames.hashes(texts, field: "hashes", countMax: namesMax)
      self = order.withDescendants ?? false ? .descendants(hashes) : .hashes(hashes)
      return
    }
    guard order.withDescendants == nil else {
      throw ControlFault(.badRequest, field: "with_descendants", "belongs to hashes only")
    }
    if let texts = order.layouts {
      self = .layouts(
        try HexadecimalNames.layouts(texts, field: "layouts", countMax: namesMax))
    } else {
      self = .all
    }
  }

  var description: String {
    switch self {
    case .all: "all"
    case .layouts(let layouts): "\(layouts.count) layouts"
    case .hashes(let hashes): "\(hashes.count) hashes"
    case .descendants(let hashes): "\(hashes.count) hashes with descendants"
    }
  }
}

extension ControlFault {
  /// What the pool refused, in an administrator's terms.
  init(_ refusal: PoolRefusal) {
    switch refusal {
    case .busy(let retry): self.init(.busy, "not now; try again in \(retry) ms")
    case .tooLarge(let bytes, let limit):
      self.init(.conflict, "\(bytes) bytes are more than the \(limit) that can be kept")
    case .conflict: self.init(.conflict, "the key holds other bytes")
    case .notFound(let what, _): self.init(.notFound, field: what, "not known in this namespace")
    case .fault(let fault): self.init(fault)
    case .limit(let fault): self.init(.busy, field: fault.field, "\(fault)")
    case .overQuota(let fault): self.init(.overQuota, field: fault.field, "\(fault)")
    case .unavailable:
      self.init(.unavailable, "the disk tier failed: a restart may undo what was done in RAM")
    }
  }
}
