internal import KDNCore

/// A wait for an object that is not published yet; hand it to `Pool.cancel` to end it.
package struct WaitTicket: Sendable {
  let number: UInt64
  let name: WaitTable.Name
}

/// Who waits for which object.
struct WaitTable: Sendable {
  /// An object of a tenant.
  struct Name: Hashable, Sendable {
    let namespace: UInt32
    let key: ObjectKey
  }

  typealias Notify = @Sendable () -> Void

  private struct Waiter {
    let number: UInt64
    let notify: Notify
  }

  private var waiters: [Name: [Waiter]] = [:]
  private var lastNumber: UInt64 = 0
  private var counts: [UInt32: Int] = [:]
  /// How many waits there are.
  private(set) var count = 0

  /// Objects that are waited for.
  var names: [Name] { Array(waiters.keys) }

  /// How many waits a namespace has.
  func count(of namespace: UInt32) -> Int { counts[namespace] ?? 0 }

  private mutating func count(_ name: Name, _ change: Int) {
    count += change
    let left = count(of: name.namespace) + change
    counts[name.namespace] = left > 0 ? left : nil
  }

  /// Adds a wait.
  mutating func add(_ name: Name, _ notify: @escaping Notify) -> WaitTicket {
    lastNumber += 1
    count(name, +1)
    waiters[name, default: []].append(Waiter(number: lastNumber, notify: notify))
    return WaitTicket(number: lastNumber, name: name)
  }

  /// Takes out all waits for `name`, in the order in which they came.
  mutating func take(_ name: Name) -> [Notify] {
    guard let taken = waiters.removeValue(forKey: name) else { return [] }
    count(name, -taken.count)
    return taken.map(\.notify)
  }

  /// Takes out one wait; nil if it is not there any more.
  mutating func remove(_ ticket: WaitTicket) -> Notify? {
    guard let index = waiters[ticket.name]?.firstIndex(where: { $0.number == ticket.number })
    else { return nil }
    count(ticket.name, -1)
    let removed = waiters[ticket.name]?.remove(at: index)
    if waiters[ticket.name]?.isEmpty == true { waiters[ticket.name] = nil }
    return removed?.notify
  }
}
