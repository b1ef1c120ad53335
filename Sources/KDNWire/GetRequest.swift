package import KDNCore

/// GET: objects, or ranges of them, to be sent.
package struct GetRequest: FrameBody {
  /// What a GET may ask for beside its items.
  package struct Flags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Wait up to the deadline until a missing key is committed.
    package static let wait = Flags(rawValue: 1)
    /// The server need not take checksums of partial items.
    package static let unverified = Flags(rawValue: 2)
    static let known: Flags = [.wait, .unverified]
  }

  /// Which bytes of an object.
  package enum Selection: Hashable, Sendable {
    /// All of them.
    case whole
    /// Byte ranges, 1 to 256, none empty, sent in this order.
    case ranges([Range<Int>])
    /// Layers and heads, inside the key's part, in absolute numbers.
    case part(Part)
  }

  /// One object of a GET.
  package struct Item: Hashable, Sendable {
    /// The object.
    package let key: ObjectKey
    /// Which of its bytes.
    package let selection: Selection

    /// Creates an item.
    package init(key: ObjectKey, selection: Selection = .whole) {
      self.key = key
      self.selection = selection
    }
  }

  /// What is asked for beside the items.
  package let flags: Flags
  /// Bit n: the client decodes codec n; codec 0, raw, is always implied.
  package let acceptedCodecs: UInt32
  /// The items, 1 to `maxKeysPerRequest`.
  package let items: [Item]

  /// Asks for `items`.
  package init(items: [Item], flags: Flags = [], acceptedCodecs: UInt32 = 1) {
    self.flags = flags
    self.acceptedCodecs = acceptedCodecs
    self.items = items
  }

  /// Decodes a whole body.
  ///
  /// - Throws: a fault that names `count`, `flags`, `reserved`, `selection`, `rangeCount`,
  ///   `length`, `bodyLength` or a field of a key or part.
  package init(from reader: inout ByteReader, limits: Limits) throws(FieldFault) {
    try reader.require(atLeast: 16)
    let count = try reader.takeCount("count", least: 1, limit: limits.maxKeysPerRequest)
    flags = Flags(rawValue: try reader.take("flags"))
    guard flags.isSubset(of: .known) else {
      throw FieldFault(
        "flags", value: UInt64(flags.rawValue), limit: UInt64(Flags.known.rawValue),
        "unknown flag")
    }
    acceptedCodecs = try reader.take("acceptedCodecs")
    try reader.takeZero(UInt32.self)
    try reader.require(atLeast: count * Item.leastByteCount)
    var items: [Item] = []
    items.reserveCapacity(count)
    for _ in 0..<count { items.append(try Item(from: &reader)) }
    self.items = items
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(items.count))
    writer.put(flags.rawValue)
    writer.put(acceptedCodecs)
    writer.put(UInt32(0))
    for item in items { item.write(to: &writer) }
  }
}

extension GetRequest.Item {
  private enum Tag: UInt8 {
    case whole = 0
    case ranges = 1
    case part = 2
  }

  /// Bytes of an item with nothing behind its fixed fields.
  static let leastByteCount = 72
  private static let rangeByteCount = 16

  init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: Self.leastByteCount)
    key = try ObjectKey(from: &reader)
    let rawTag: UInt8 = try reader.take("selection")
    guard let tag = Tag(rawValue: rawTag) else {
      throw FieldFault("selection", value: UInt64(rawTag), limit: 2, "unknown selection")
    }
    try reader.takeZero(UInt8.self)
    let rangeCount = Int(try reader.take("rangeCount", as: UInt16.self))
    try reader.takeZero(UInt32.self)
    switch tag {
    case .whole:
      try Self.check(rangeCount, in: 0...0)
      selection = .whole
    case .ranges:
      try Self.check(rangeCount, in: 1...Limits.rangesPerItemMax)
      selection = .ranges(try Self.takeRanges(rangeCount, from: &reader))
    case .part:
      try Self.check(rangeCount, in: 1...1)
      guard key.kind == .layout else {
        throw FieldFault(
          "selection", value: UInt64(rawTag), limit: 1, "an opaque object has no layers")
      }
      try reader.require(atLeast: Part.byteCount)
      selection = .part(try Part(selecting: &reader))
    }
  }

  private static func takeRanges(
    _ count: Int, from reader: inout ByteReader
  ) throws(FieldFault) -> [Range<Int>] {
    try reader.require(atLeast: count * rangeByteCount)
    var ranges: [Range<Int>] = []
    ranges.reserveCapacity(count)
    for _ in 0..<count {
      let offset: UInt64 = try reader.take("offset")
      let length: UInt64 = try reader.take("length")
      guard length > 0 else {
        throw FieldFault("length", value: 0, limit: 1, "a range has bytes")
      }
      let (end, overflow) = offset.addingReportingOverflow(length)
      guard !overflow, let last = Int(exactly: end) else {
        throw FieldFault("length", value: length, limit: UInt64(Int.max), "range ends too far out")
      }
      ranges.append(last - Int(length)..<last)
    }
    return ranges
  }

  private static func check(_ count: Int, in allowed: ClosedRange<Int>) throws(FieldFault) {
    guard allowed.contains(count) else {
      throw FieldFault(
        "rangeCount", value: count, limit: allowed.upperBound, "does not fit the selection")
    }
  }

  func write(to writer: inout ByteWriter) {
    key.write(to: &writer)
    switch selection {
    case .whole: Self.write(.whole, count: 0, to: &writer)
    case .ranges(let ranges):
      Self.write(.ranges, count: ranges.count, to: &writer)
      for range in ranges {
        writer.put(UInt64(range.lowerBound))
        writer.put(UInt64(range.count))
      }
    case .part(let part):
      Self.write(.part, count: 1, to: &writer)
      part.write(to: &writer)
    }
  }

  private static func write(_ tag: Tag, count: Int, to writer: inout ByteWriter) {
    writer.put(tag.rawValue)
    writer.put(UInt8(0))
    writer.put(UInt16(count))
    writer.put(UInt32(0))
  }
}
