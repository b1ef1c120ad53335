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
    /// Choose per item what is there by the deadline; follows from the client's `adaptation`.
    package static let adapt = Flags(rawValue: 4)
    /// What is kept in a lossy codec only is a miss.
    package static let exact = Flags(rawValue: 8)
    static let known: Flags = [.wait, .unverified, .adapt, .exact]
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
  /// The codecs that the client decodes; raw is always implied, unknown ones are kept.
  package let acceptedCodecs: CodecSet
  /// The items, 1 to `maxKeysPerRequest`.
  package let items: [Item]
  /// Where their bytes are wanted.
  package let place: GetPlace
  /// The client's rates; nil exactly without the flag `adapt`.
  ///
  /// With it the items are chunks of one chain in their order: once one is to be recomputed, all
  /// behind it are.
  package let adaptation: Adaptation?

  /// Asks for `items`; a remote place must have a region for each of them.
  package init(
    items: [Item], flags: Flags = [], acceptedCodecs: CodecSet = .raw,
    adaptation: Adaptation? = nil, place: GetPlace = .inline
  ) {
    if case .remote(let regions) = place {
      precondition(regions.count == items.count, "each item has a region")
    }
    self.flags = adaptation == nil ? flags.subtracting(.adapt) : flags.union(.adapt)
    self.adaptation = adaptation
    self.acceptedCodecs = acceptedCodecs
    self.items = items
    self.place = place
  }

  /// Decodes a whole body of a frame with this place.
  ///
  /// - Throws: a fault that names `count`, `flags`, `reserved`, `selection`, `rangeCount`,
  ///   `length`, `bodyLength` or a field of a key, part or region.
  package init(
    from reader: inout ByteReader, limits: Limits, place kind: PayloadPlace = .inline
  ) throws(FieldFault) {
    try reader.require(atLeast: 16)
    let count = try reader.takeCount("count", least: 1, limit: limits.maxKeysPerRequest)
    flags = Flags(rawValue: try reader.take("flags"))
    guard flags.isSubset(of: .known) else {
      throw FieldFault(
        "flags", value: UInt64(flags.rawValue), limit: UInt64(Flags.known.rawValue),
        "unknown flag")
    }
    acceptedCodecs = CodecSet(rawValue: try reader.take("acceptedCodecs"))
    try reader.takeZero(UInt32.self)
    try reader.require(atLeast: count * Item.leastByteCount)
    var items: [Item] = []
    items.reserveCapacity(count)
    for _ in 0..<count { items.append(try Item(from: &reader)) }
    self.items = items
    adaptation = flags.contains(.adapt) ? try Adaptation(from: &reader) : nil
    place = try GetPlace(kind, count: count, from: &reader)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(items.count))
    writer.put(flags.rawValue)
    writer.put(acceptedCodecs.rawValue)
    writer.put(UInt32(0))
    for item in items { item.write(to: &writer) }
    adaptation?.write(to: &writer)
    place.write(to: &writer)
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
