internal import KDNCore
internal import KDNTier

/// The form in which a tier has an object, as far as a recoding minds.
enum RecodableForm: Equatable, Sendable {
  /// What was stored can be had from it; the codec's number, 0 for the bytes as they were stored.
  case whole(UInt8)
  /// What was stored is gone.
  case lossy(UInt8)

  init(_ form: StoredForm?, of checksum: Checksum) {
    guard let form else {
      self = .whole(StoredForm.raw)
      return
    }
    self = form.isExact(of: checksum) ? .whole(form.codec) : .lossy(form.codec)
  }

  var codec: UInt8 {
    switch self {
    case .whole(let codec), .lossy(let codec): codec
    }
  }
}

/// What a recoding does with one object; pure.
struct RecodingDecision: Equatable, Sendable {
  /// Whether a tier that the order names has it.
  let isWithin: Bool
  let changesRAM: Bool
  let changesBelow: Bool
  /// Whether the bytes in RAM serve; else those below are read.
  let readsRAM: Bool
  /// Why nothing is done; nil if something is.
  let obstacle: RecodingObstacle?

  /// Decides by what RAM and the slower tier have; nil: not there.
  init(ram: RecodableForm?, below: RecodableForm?, _ order: RecodingOrder) {
    let codec = order.codec
    let wantedRAM = order.tiers.contains(.ram) ? ram : nil
    let wantedBelow = order.tiers.contains(.disk) ? below : nil
    func isChangeable(_ form: RecodableForm?) -> Bool {
      guard case .whole(let known)? = form else { return false }
      return known != codec
    }
    isWithin = wantedRAM != nil || wantedBelow != nil
    // A tier that has lost what was stored is changed by nothing; another one may have it still.
    changesRAM = isChangeable(wantedRAM)
    changesBelow = isChangeable(wantedBelow)
    switch ram {
    case .whole?: readsRAM = true
    case .lossy(let known)?: readsRAM = known == codec
    case nil: readsRAM = false
    }
    guard !changesRAM, !changesBelow else {
      obstacle = nil
      return
    }
    let forms = [wantedRAM, wantedBelow].compactMap { $0 }
    let isLost = forms.contains { form in
      if case .lossy(let known) = form { return known != codec }
      return false
    }
    obstacle = isLost ? .alreadyLossy : forms.isEmpty ? .gone : .sameForm
  }
}
