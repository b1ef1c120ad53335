package import KDNCore

/// A document as it was published.
package final class PublishedDocument: Sendable {
  /// What was published.
  package let document: Document
  /// Grows with each publication in its namespace; tells a text from the one that it replaced.
  package let epoch: UInt64
  private let charge: IndexCharge

  init(_ document: Document, epoch: UInt64, charge: consuming IndexCharge) {
    self.document = document
    self.epoch = epoch
    self.charge = charge
  }
}

/// The documents of one namespace, in the order of their names' bytes.
struct DocumentTable: Sendable {
  /// Names as bytes: Swift holds strings for equal that differ in their bytes.
  private typealias Name = [UInt8]

  private var byName: [Name: PublishedDocument] = [:]
  private var names: [Name] = []
  private var lastEpoch: UInt64 = 0

  /// How many there are.
  var count: Int { names.count }

  func contains(_ name: String) -> Bool { byName[Array(name.utf8)] != nil }

  func find(_ name: String) -> PublishedDocument? { byName[Array(name.utf8)] }

  /// Puts a document in the place of what had its name, and returns both.
  mutating func publish(
    _ document: Document, charge: consuming IndexCharge
  ) -> (published: PublishedDocument, replaced: PublishedDocument?) {
    lastEpoch += 1
    let name = Array(document.name.utf8)
    let published = PublishedDocument(document, epoch: lastEpoch, charge: charge)
    let replaced = byName.updateValue(published, forKey: name)
    if replaced == nil { names.insert(name, at: place(behind: name)) }
    return (published, replaced)
  }

  /// Takes a document out.
  mutating func retire(_ name: String) -> PublishedDocument? {
    let name = Array(name.utf8)
    guard let retired = byName.removeValue(forKey: name) else { return nil }
    names.remove(at: place(behind: name) - 1)
    return retired
  }

  /// Up to `limit` documents behind a name, which need not be there.
  func list(after name: String, limit: Int) -> [PublishedDocument] {
    let start = name.isEmpty ? 0 : place(behind: Array(name.utf8))
    return names[start...].prefix(limit).compactMap { byName[$0] }
  }

  /// Takes out everything.
  mutating func removeAll() -> [PublishedDocument] {
    defer {
      byName = [:]
      names = []
    }
    return Array(byName.values)
  }

  /// Where the first name behind `name` stands.
  private func place(behind name: Name) -> Int {
    var low = 0
    var high = names.count
    while low < high {
      let middle = (low + high) / 2
      if name.lexicographicallyPrecedes(names[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
