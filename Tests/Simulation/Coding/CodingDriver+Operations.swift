import KDNCore
import KDNMemory
import KDNTier

@testable import KDNPool

extension CodingDriver {
  func operate() throws {
    switch random.number(below: 100) {
    case 0..<30: try put()
    case 30..<58: startRead(anyName())
    case 58..<64: try hold()
    case 64..<70: if !readers.isEmpty { readers.remove(at: random.number(below: readers.count)) }
    case 70..<76: purge()
    case 76..<80: makeDurable(anyName())
    case 80..<94:
      advance(milliseconds: UInt64(random.number(below: random.isOne(in: 4) ? 90_000 : 500)))
    case 94..<97: changePolicy()
    default: recode()
    }
  }

  func changePolicy() {
    // A fetch knows the forms that are in sight when it begins.
    takeLooks()
    var policy = EncodingPolicy()
    policy.byteCountMin = 64
    policy.keepsDecodedFromUse = random.isOne(in: 3) ? 2 : nil
    let codecs: [UInt8] = [0, 1, 3]
    for tier in [CodingTier.ram, .disk] where !random.isOne(in: 4) {
      policy.rules.append(
        .init(
          tier: tier, idleSecondsMin: random.number(below: 60),
          codec: codecs[random.number(below: 3)]))
    }
    pool.setEncodingPolicy(policy)
  }

  private func recode() {
    if let recoding, !recoding.progress.isOver {
      if random.isOne(in: 4) { recoding.cancel() }
      return
    }
    takeLooks()
    totals.recodings += 1
    let codecs: [UInt8] = [0, 1, 3]
    var order = RecodingOrder(codec: codecs[random.number(below: 3)])
    if random.isOne(in: 3) { order.tiers = [random.isOne(in: 2) ? .ram : .disk] }
    recoding = pool.recode(order, in: namespaces[random.number(below: 2)])
  }

  // MARK: Writing

  private func put() throws {
    let name = anyName()
    let epoch = records[name, default: Record()].epoch
    let bytes = content(name, epoch)
    let facts = StoreFacts(key: key(name), byteCount: bytes.count)
    let namespace = namespaces[name.tenant]
    do {
      switch try pool.reserve(facts, in: namespace) {
      case .present(let checksum):
        guard checksum == Checksum(of: bytes) else { return try fellBack(name, to: checksum) }
        _ = try pool.confirm(facts, checksum: checksum, in: namespace)
      case .reserved(let reservation):
        reservation.memory.write(bytes)
        _ = try pool.publish(reservation, facts, checksum: Checksum(of: bytes), in: namespace)
      }
    } catch let refusal as PoolRefusal {
      switch refusal {
      case .busy, .overQuota: return
      case .conflict(let found, _): return try fellBack(name, to: found)
      case .notFound(let what, _):
        guard what == "object" else { fallthrough }
        return
      default: throw DiskDifference(description: "put of \(name): \(refusal)")
      }
    }
    if random.isOne(in: 3) { makeDurable(name) }
  }

  func makeDurable(_ name: Name) {
    let epoch = records[name, default: Record()].epoch
    let disk = disk
    pool.makeDurable(key(name), in: namespaces[name.tenant]) { [unowned self] refusal in
      // It may be old bytes that came back which are durable now.
      guard refusal == nil, disk.isPowered, records[name]?.epoch == epoch,
        case .held(let held) = tier.find(key(name), in: namespaces[name.tenant].name),
        held.checksum == Checksum(of: content(name, epoch))
      else { return }
      records[name]?.isPromised = true
    }
  }

  private func purge() {
    let name = anyName()
    records[name, default: Record()].isPromised = false
    records[name, default: Record()].epoch += 1
    let epoch = records[name, default: Record()].epoch
    let disk = disk
    pool.purge(.keys([key(name)]), in: namespaces[name.tenant]) { [unowned self] result in
      guard case .success = result, disk.isPowered else { return }
      records[name]?.purged(before: epoch)
    }
  }

  /// Old bytes have come back, for a crash came before their purge was acknowledged.
  private func fellBack(_ name: Name, to checksum: Checksum) throws {
    let record = records[name, default: Record()]
    let epoch = (record.floor...record.epoch).first { Checksum(of: content(name, $0)) == checksum }
    guard let epoch else {
      throw DiskDifference(description: "bytes that must not be there are present: \(name)")
    }
    records[name]?.epoch = epoch
    records[name]?.floor = min(epoch, record.floor)
  }

  // MARK: Checks

  /// Takes what has been read, and looks at what must always be so.
  func check() throws {
    if random.isOne(in: 2) { takeLooks() }
    for read in reads where read.fetch.isDone {
      if let lookup = read.fetch.take(key(read.name)) {
        note(lookup, read.name, read.terms, read.epochs)
      } else {
        // It was in RAM in a form that is taken, or in no tier.
        totals.misses[.neverStored, default: 0] += 1
      }
    }
    reads.removeAll { $0.fetch.isDone }
    for reader in readers where random.isOne(in: 8) {
      let wrong = problem(
        reader.lease.lease, reader.lease.form, reader.lease.checksum, reader.lease.decodedFrom,
        reader.name, reader.epochs)
      if let wrong { failure = "under a lease: \(wrong)" }
    }
    if let failure { throw DiskDifference(description: failure) }
    if let violation = disk.violations.first { throw DiskDifference(description: violation) }
    let quota = namespaces[0].quota.chargedBytes
    try expect(quota <= Self.ramQuota, "\(quota) bytes charged of \(Self.ramQuota)")
    let picture = pool.statistics
    try expect(
      picture.chargedBytes <= picture.memoryBytesMax,
      "\(picture.chargedBytes) bytes charged of \(picture.memoryBytesMax)")
    let sums = picture.codecs.reduce((objects: 0, bytes: 0)) {
      ($0.objects + $1.objects, $0.bytes + $1.bytes)
    }
    try expect(
      sums.objects == picture.objects && sums.bytes == picture.bytes,
      "\(sums) by form, \(picture.objects) objects of \(picture.bytes) bytes")
    try expect(
      picture.bytes <= picture.arena.allocatedBytes,
      "\(picture.bytes) bytes of objects, \(picture.arena.allocatedBytes) in the arena")
    try expect(
      picture.writeBehind.leasedBytes >= 0 && picture.writeBehind.waitingBytes >= 0,
      "\(picture.writeBehind)")
  }
}

extension CodingDriver.Record {
  /// What is older than this epoch is gone for good.
  mutating func purged(before epoch: Int) {
    floor = max(floor, min(epoch, self.epoch))
  }
}
