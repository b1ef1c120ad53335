internal import Synchronization

/// What a tenant's objects take of RAM, against its quota.
final class QuotaAccount: Sendable {
  private let charged = Atomic<Int>(0)
  private let limit = Atomic<Int>(.max)

  /// Bytes charged now.
  var chargedBytes: Int { charged.load(ordering: .sequentiallyConsistent) }

  /// The quota, `Int.max` where there is none; what is charged already may be above a new one.
  var bytesMax: Int {
    get { limit.load(ordering: .sequentiallyConsistent) }
    set { limit.store(max(newValue, 0), ordering: .sequentiallyConsistent) }
  }

  /// Bytes charged beyond the quota, which was lowered since.
  var excessBytes: Int { max(0, chargedBytes - bytesMax) }

  /// Charges `bytes` until the charge is dropped; nil, and nothing charged, if that is over the
  /// quota.
  func charge(_ bytes: Int) -> QuotaCharge? {
    precondition(bytes >= 0)
    var present = chargedBytes
    while bytes <= bytesMax - present {
      let (exchanged, original) = charged.weakCompareExchange(
        expected: present, desired: present + bytes, ordering: .sequentiallyConsistent)
      guard exchanged else {
        present = original
        continue
      }
      // Either who lowers the quota sees this charge, or this sees the lower quota.
      if chargedBytes <= bytesMax { return QuotaCharge(bytes, to: self) }
      refund(bytes)
      return nil
    }
    return nil
  }

  fileprivate func refund(_ bytes: Int) {
    let left = charged.wrappingSubtract(bytes, ordering: .sequentiallyConsistent).newValue
    precondition(left >= 0, "more of a quota refunded than charged")
  }
}

/// Bytes of one object charged to its tenant's quota; refunded when the last reference is dropped.
///
/// The bytes' memory keeps it, so that what is still being read counts though it cannot be found.
final class QuotaCharge: Sendable {
  private let account: QuotaAccount
  private let bytes: Int

  fileprivate init(_ bytes: Int, to account: QuotaAccount) {
    self.account = account
    self.bytes = bytes
  }

  deinit { account.refund(bytes) }
}
