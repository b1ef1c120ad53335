import KDNCore
import KDNTier

extension DiskDriver {
  /// Gives the tier another form of what it has, of which it knows nothing but length and checksum.
  func rewrite(_ tier: any Tier) throws {
    let isHeld = { [universe] (name: Name) in
      let (key, namespace) = (universe.keys[name.number], universe.namespaces[name.tenant])
      if case .held = tier.find(key, in: namespace) { return true }
      return false
    }
    guard let name = (0..<8).lazy.map({ _ in self.anyName() }).first(where: isHeld) else { return }
    let finding = tier.find(universe.keys[name.number], in: universe.namespaces[name.tenant])
    guard finding != .notReady, let copy = try model.found(finding, name, now: now),
      case .held(let held) = finding
    else { return }
    let made = held.form != nil && random.isOne(in: 3) ? nil : makeForm(of: copy)
    guard made != nil || held.form != nil else { return }
    let count = made?.form.byteCount ?? copy.facts.byteCount
    guard let bytes = bytes(made?.content ?? copy.content, count) else { return }
    copy.add(made?.form, made?.content)
    if scenario.watchesPlaces, let made { places.add(copy, made.content) }
    note("rewrite \(describe(name)) \(copy.facts.checksum.value) to \(count) bytes")
    let answer = Answer<Result<Void, TierRefusal>>(disk)
    ask("rewrite of \(describe(name))", answer) { [unowned self] result in
      try concludeRewrite(result, copy, name, made?.form)
    }
    tier.rewrite(copy.facts.inForm(made?.form), bytes) { answer.give($0) }
  }

  /// Bytes that could be an encoded form; long enough to be known on a device.
  private func makeForm(of copy: Copy) -> (form: StoredForm, content: DiskContent)? {
    guard copy.facts.byteCount > 32 else { return nil }
    let count = 16 + random.number(below: copy.facts.byteCount - 16)
    let content = DiskContent.noise(random.number(below: DiskContent.noise.count - count))
    let isExact = random.isOne(in: 2)
    let form = StoredForm(
      codec: UInt8(1 + random.number(below: 255)), byteCount: count,
      checksum: content.withBytes(count) { Checksum(of: $0) },
      decodedChecksum: isExact ? copy.facts.checksum : Checksum(random.next()),
      profile: random.isOne(in: 2) ? .none : HashChain.opaque([UInt8(random.number(below: 4))]))
    return (form, content)
  }

  private func concludeRewrite(
    _ result: Result<Void, TierRefusal>, _ copy: Copy, _ name: Name, _ form: StoredForm?
  ) throws {
    switch result {
    case .success:
      totals.rewritten += 1
      copy.settle(form)
    case .failure(let refusal):
      let kind = String("\(refusal)".prefix { $0 != "(" })
      totals.refusals["rewrite \(kind)", default: 0] += 1
      switch refusal {
      case .busy, .gone: break
      case .failed: try expect(hasFailed, "a rewrite failed on devices without fault")
      case .closing: try expect(isClosing, "closing, and nobody closed it")
      case .overQuota(let limit):
        try expect(
          limit == quotas.disk[name.tenant] || limit == quotas.pinned[name.tenant],
          "no quota of \(limit) for \(describe(name))")
      case .notAdmitted, .tooLarge:
        throw DiskDifference(description: "a rewrite of \(copy.facts.byteCount) bytes: \(refusal)")
      }
    }
  }
}
