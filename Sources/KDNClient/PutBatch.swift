internal import KDNCore
internal import KDNWire

/// Which answers the stores of a batch wait for, and what became of each store.
struct PutBatch {
  private struct Open {
    let index: Int
    let byteCount: Int
    var checksum: Checksum?
    var isBegun = false
    var refusal: PutResult?
    var outcome: PutResult?
  }

  private var open: [UInt64: Open] = [:]
  private var transfers: [UInt64: UInt64] = [:]
  private var results: [PutResult?]
  /// Bytes of stores between BEGIN and the answer to COMMIT.
  private(set) var openBytes = 0

  /// Expects `count` stores.
  init(count: Int) { results = [PutResult?](repeating: nil, count: count) }

  /// Whether answers are missing.
  var isWaiting: Bool { !open.isEmpty }

  /// What became of each store; all must be over.
  var finished: [PutResult] {
    let all = results.compactMap(\.self)
    precondition(all.count == results.count, "a store is not over")
    return all
  }

  /// The store at `index` is refused without having been begun.
  mutating func refuse(_ index: Int, _ status: Status, _ fault: FieldFault) {
    results[index] = .refused(status, ErrorBody(fault))
  }

  /// The store at `index` was begun with this id.
  mutating func begin(_ transferID: UInt64, index: Int, byteCount: Int) {
    open[transferID] = Open(index: index, byteCount: byteCount)
    openBytes += byteCount
  }

  /// The store's COMMIT has this id.
  mutating func commit(_ requestID: UInt64, of transferID: UInt64, _ checksum: Checksum) {
    transfers[requestID] = transferID
    open[transferID]?.checksum = checksum
  }

  /// Takes an answer; false if it is to no store of this batch.
  mutating func take(_ event: ClientMachine.Event) -> Bool {
    switch event {
    case .response(let id, .putBegin): return begun(id, refusal: nil)
    case .refused(let id, .putBegin, let status, let body):
      return begun(id, refusal: .refused(status, body))
    case .response(let id, .putCommit(let answer)): return end(commit: id, answer)
    case .refused(let id, .putCommit, let status, let body):
      return end(commit: id, .refused(status, body))
    default: return false
    }
  }

  private mutating func begun(_ transferID: UInt64, refusal: PutResult?) -> Bool {
    guard open[transferID] != nil else { return false }
    open[transferID]?.isBegun = true
    open[transferID]?.refusal = refusal
    settle(transferID)
    return true
  }

  private mutating func end(commit id: UInt64, _ answer: PutCommitResponse) -> Bool {
    guard let transfer = transfers[id], let announced = open[transfer]?.checksum else {
      return false
    }
    guard announced == answer.checksum else {
      let fault = FieldFault(
        "objectChecksum", value: answer.checksum.value, limit: announced.value,
        "the server holds other bytes than were sent")
      return end(commit: id, .refused(.checksumMismatch, ErrorBody(fault)))
    }
    return end(commit: id, .stored(answer.state, answer.checksum))
  }

  private mutating func end(commit id: UInt64, _ result: PutResult) -> Bool {
    guard let transfer = transfers.removeValue(forKey: id), open[transfer] != nil else {
      return false
    }
    open[transfer]?.outcome = result
    settle(transfer)
    return true
  }

  /// A store is over when BEGIN and COMMIT are answered, in whichever order; what BEGIN was refused
  /// for says more than COMMIT, which then finds no transfer.
  private mutating func settle(_ transferID: UInt64) {
    guard let store = open[transferID], store.isBegun, store.outcome != nil else { return }
    open[transferID] = nil
    results[store.index] = store.refusal ?? store.outcome
    openBytes -= store.byteCount
  }
}
