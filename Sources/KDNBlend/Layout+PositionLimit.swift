package import KDNCore

extension Layout {
  /// What positions of a blend must stay below.
  ///
  /// Dynamic and longrope scaling change every frequency once a prompt is longer than the original
  /// context: keys are moved within it only. Without them the limit is 2^31.
  package var positionLimit: Int {
    groups.compactMap(\.rope?.originalContext).min() ?? BlendPlan.positionLimitMax
  }
}

extension RoPE {
  fileprivate var originalContext: Int? {
    guard scaling == .dynamic || scaling == .longrope, factors.count > 1 else { return nil }
    // Factors are finite, but of any size.
    return Int(min(max(factors[1], 0), Double(BlendPlan.positionLimitMax)))
  }
}
