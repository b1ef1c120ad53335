internal import Synchronization

/// Counts memory against a hard cap.
final class MemoryBudget: Sendable {
  /// The cap.
  let bytesMax: Int
  private let charged: Atomic<Int>

  /// Starts with `fixedBytes` charged, which must be within the cap.
  init(bytesMax: Int, fixedBytes: Int) {
    precondition(fixedBytes <= bytesMax, "arena and fixed index do not fit the memory cap")
    self.bytesMax = bytesMax
    charged = Atomic(fixedBytes)
  }

  /// Bytes charged now.
  var chargedBytes: Int { charged.load(ordering: .relaxed) }

  /// Charges `bytes`; false, and nothing charged, if that is over the cap.
  func charge(_ bytes: Int) -> Bool {
    precondition(bytes >= 0)
    var present = charged.load(ordering: .relaxed)
    while bytes <= bytesMax - present {
      // Relaxed: the number alone is shared, no other memory is published by it.
      let (exchanged, original) = charged.weakCompareExchange(
        expected: present, desired: present + bytes, ordering: .relaxed)
      if exchanged { return true }
      present = original
    }
    return false
  }

  /// Takes back a charge.
  func refund(_ bytes: Int) {
    let left = charged.wrappingSubtract(bytes, ordering: .relaxed).newValue
    precondition(left >= 0, "more memory refunded than charged")
  }
}

/// Index memory charged for one object or lease; refunded when dropped.
struct IndexCharge: ~Copyable, Sendable {
  private let budget: MemoryBudget
  private let bytes: Int

  /// Charges `bytes`, or gives nil if that is over the cap.
  init?(_ bytes: Int, to budget: MemoryBudget) {
    guard budget.charge(bytes) else { return nil }
    self.budget = budget
    self.bytes = bytes
  }

  fileprivate init(adopting bytes: Int, of budget: MemoryBudget) {
    self.budget = budget
    self.bytes = bytes
  }

  deinit { budget.refund(bytes) }
}

/// A charge that several hold until one takes it; refunded with the last of them if nobody did.
final class SharedCharge: Sendable {
  private let budget: MemoryBudget
  private let bytes: Int
  private let isTaken = Atomic<Bool>(false)

  /// Charges `bytes`, or gives nil if that is over the cap.
  init?(_ bytes: Int, to budget: MemoryBudget) {
    guard budget.charge(bytes) else { return nil }
    self.budget = budget
    self.bytes = bytes
  }

  /// Takes the charge, once; nil the second time.
  func take() -> IndexCharge? {
    guard !isTaken.exchange(true, ordering: .acquiringAndReleasing) else { return nil }
    return IndexCharge(adopting: bytes, of: budget)
  }

  deinit {
    if !isTaken.load(ordering: .acquiring) { budget.refund(bytes) }
  }
}
