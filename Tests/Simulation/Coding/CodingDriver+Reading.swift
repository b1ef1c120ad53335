import KDNCore
import KDNMemory
import KDNTier

@testable import KDNPool

/// Readers who take other forms, from one tier or the other.
extension CodingDriver {
  func startRead(_ name: Name) {
    let choices: [CodecSet] = [.raw, .raw, .all, CodecSet(rawValue: 1 << 1)]
    let accepted = choices[random.number(below: choices.count)]
    let namespace = namespaces[name.tenant]
    // As a session asks: who wants exact bytes takes lossy ones too, to refuse them.
    let isExact = random.isOne(in: 4)
    let terms = FetchTerms(
      accepting: isExact ? accepted.union(CodecSet(rawValue: 1 << 3)) : accepted,
      isExact: isExact, below: random.isOne(in: 3) ? [key(name)] : [])
    let epochs = records[name, default: Record()].epochs
    let fetch = pool.fetch([key(name)], in: namespace, terms) {}
    if let fetch {
      reads.append(Read(fetch: fetch, name: name, terms: terms, epochs: epochs))
    } else if let object = pool.live(key(name), in: namespace, now: clock.now()) {
      looks.append(Look(name: name, terms: terms, epochs: epochs, object: object))
      if !random.isOne(in: 4) { takeLooks() }
    } else {
      totals.misses[.neverStored, default: 0] += 1
    }
  }

  /// Looks into RAM for those who found nothing to fetch.
  func takeLooks() {
    for look in looks {
      let namespace = namespaces[look.name.tenant]
      let isThere =
        pool.live(key(look.name), in: namespace, now: clock.now()) === look.object
      totals.looks += 1
      switch pool.lookup(key(look.name), in: namespace, accepting: look.terms.accepted) {
      case .hit(let hit): note(.hit(hit), look.name, look.terms, look.epochs)
      case .miss(let cause):
        totals.misses[cause, default: 0] += 1
        guard isThere else { continue }
        failure = "\(look.name) was there in a form that is accepted, and is \(cause)"
      }
    }
    looks = []
  }

  /// Keeps an object's bytes for some time, in whatever form.
  func hold() throws {
    let name = anyName()
    guard readers.count < 6,
      case .hit(let hit) = pool.lookup(key(name), in: namespaces[name.tenant], accepting: .all)
    else { return }
    readers.append(Reader(hit, name, records[name, default: Record()].epochs))
  }

  func note(
    _ lookup: consuming Lookup, _ name: Name, _ terms: FetchTerms, _ epochs: ClosedRange<Int>
  ) {
    switch consume lookup {
    case .miss(let cause): totals.misses[cause, default: 0] += 1
    case .hit(let hit):
      totals.hits += 1
      if hit.form != nil { totals.encodedHits += 1 }
      if hit.decodedFrom == 3 { totals.lossyHits += 1 }
      if !terms.accepted.contains(hit.form) { failure = "\(name) is given in a form not accepted" }
      let isExact = (hit.form?.decodedChecksum ?? hit.checksum) == hit.object.checksum
      if isExact, hit.form?.codec == 3 || hit.decodedFrom == 3 {
        failure = "\(name) is said to be exact, and is lossy"
      }
      if terms.isExact { if isExact { totals.exactHits += 1 } else { totals.inexactHits += 1 } }
      if terms.below.contains(key(name)), hit.object.slot >= 0, hit.decodedFrom == 0,
        hit.object.body.form != hit.form
      {
        totals.belowHits += 1
      }
      if let problem = problem(hit.lease, hit.form, hit.checksum, hit.decodedFrom, name, epochs) {
        failure = problem
      }
    }
  }

  /// What is wrong with bytes that were given; nil if nothing is.
  func problem(
    _ lease: borrowing Lease, _ form: StoredForm?, _ checksum: Checksum, _ decodedFrom: UInt8,
    _ name: Name, _ epochs: ClosedRange<Int>
  ) -> String? {
    let bytes = lease.withBytes { span in span.withUnsafeBytes { Array($0) } }
    guard Checksum(of: bytes) == checksum else { return "\(name) has another checksum" }
    let present = records[name, default: Record()].epochs
    let floor = min(epochs.lowerBound, present.lowerBound)
    let isRight = (floor...max(epochs.upperBound, present.upperBound)).contains { epoch in
      let raw = content(name, epoch)
      let codec = form?.codec ?? decodedFrom
      let wanted =
        codec == 3
        ? SimulatedCoder.decoded(SimulatedCoder.encoded(raw, as: 3), as: 3, raw.count) : raw
      guard let form else { return bytes == wanted }
      return form.checksum == checksum && form.decodedChecksum == Checksum(of: wanted)
        && bytes == SimulatedCoder.encoded(raw, as: codec)
    }
    return isRight ? nil : "\(name) is given with other bytes, codec \(form?.codec ?? decodedFrom)"
  }
}
