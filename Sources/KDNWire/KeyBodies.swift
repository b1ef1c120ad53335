package import KDNCore

/// A list of keys: the request of EXISTS, TOUCH, UNPIN and PREFETCH.
package struct KeysRequest: FrameBody {
  /// The keys, at most `maxKeysPerRequest`.
  package let keys: [ObjectKey]

  /// Asks about `keys`.
  package init(keys: [ObjectKey]) { self.keys = keys }

  /// Decodes a whole body; throws a fault that names `count`, `reserved`, `bodyLength` or a key's
  /// field.
  package init(from reader: inout ByteReader, limits: Limits) throws(FieldFault) {
    try reader.require(atLeast: 8)
    let count = try reader.takeCount("count", limit: limits.maxKeysPerRequest)
    try reader.takeZero(UInt32.self)
    keys = try reader.takeKeys(count)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(keys.count))
    writer.put(UInt32(0))
    for key in keys { key.write(to: &writer) }
  }
}

extension ByteReader {
  /// Takes `count` keys, which must be all that is left.
  mutating func takeKeys(_ count: Int) throws(FieldFault) -> [ObjectKey] {
    try require(exactly: count * ObjectKey.byteCount)
    var keys: [ObjectKey] = []
    keys.reserveCapacity(count)
    for _ in 0..<count { keys.append(try ObjectKey(from: &self)) }
    return keys
  }
}

/// PIN: keys that shall stay for a time.
package struct PinRequest: FrameBody {
  /// How long, in milliseconds; 1 to the server's limit.
  package let ttlMilliseconds: UInt64
  /// The keys, at most `maxKeysPerRequest`.
  package let keys: [ObjectKey]

  /// Asks to pin `keys`.
  package init(keys: [ObjectKey], ttlMilliseconds: UInt64) {
    self.keys = keys
    self.ttlMilliseconds = ttlMilliseconds
  }

  /// Decodes a whole body; throws a fault that names `ttlMillis`, `count`, `reserved`, `bodyLength`
  /// or a key's field.
  package init(from reader: inout ByteReader, limits: Limits) throws(FieldFault) {
    try reader.require(atLeast: 16)
    ttlMilliseconds = try reader.take("ttlMillis")
    guard ttlMilliseconds >= 1, ttlMilliseconds <= limits.maxPinMilliseconds else {
      throw FieldFault(
        "ttlMillis", value: ttlMilliseconds, limit: limits.maxPinMilliseconds,
        "must be 1 to the server's limit")
    }
    let count = try reader.takeCount("count", limit: limits.maxKeysPerRequest)
    try reader.takeZero(UInt32.self)
    keys = try reader.takeKeys(count)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(ttlMilliseconds)
    writer.put(UInt32(keys.count))
    writer.put(UInt32(0))
    for key in keys { key.write(to: &writer) }
  }
}

/// One bit per key, bit i in byte i / 8, least significant first.
package struct Bitmap: Equatable, Sendable {
  /// How many bits.
  package let count: Int
  /// The bits; those beyond `count` are zero.
  package private(set) var bytes: [UInt8]

  /// Creates `count` bits, all 0.
  package init(count: Int) {
    self.count = count
    bytes = [UInt8](repeating: 0, count: (count + 7) / 8)
  }

  /// Creates the bits of `bits`.
  package init(_ bits: [Bool]) {
    self.init(count: bits.count)
    for (index, bit) in bits.enumerated() where bit { self[index] = true }
  }

  /// Takes `count` bits, which must be all that is left; throws a fault that names `bodyLength` or
  /// `bitmap`.
  init(from reader: inout ByteReader, count: Int) throws(FieldFault) {
    try reader.require(exactly: (count + 7) / 8)
    self.count = count
    bytes = Array(try reader.takeBytes("bitmap", count: reader.remaining))
    guard let last = bytes.last, count % 8 != 0 else { return }
    guard last >> (count % 8) == 0 else {
      throw FieldFault("bitmap", value: UInt64(last), limit: 0, "bits beyond the last key")
    }
  }

  /// The bit of the key at `index`, which must be below `count`.
  package subscript(index: Int) -> Bool {
    get {
      precondition(index >= 0 && index < count)
      return bytes[index / 8] >> (index % 8) & 1 == 1
    }
    set {
      precondition(index >= 0 && index < count)
      let bit: UInt8 = 1 << (index % 8)
      if newValue { bytes[index / 8] |= bit } else { bytes[index / 8] &= ~bit }
    }
  }

  /// How many bits are 1.
  package var trueCount: Int { bytes.reduce(0) { $0 + $1.nonzeroBitCount } }
}

/// The answer to EXISTS.
package struct ExistsResponse: FrameBody {
  /// One bit per key asked about.
  package let present: Bitmap

  /// Creates the answer.
  package init(present: Bitmap) { self.present = present }

  /// Decodes a whole body that answers a request for `count` keys.
  ///
  /// - Throws: a fault that names `count` if it is another, `reserved`, `bitmap` or `bodyLength`.
  package init(from reader: inout ByteReader, count: Int) throws(FieldFault) {
    try reader.require(atLeast: 8)
    _ = try reader.takeCount("count", least: count, limit: count)
    try reader.takeZero(UInt32.self)
    present = try Bitmap(from: &reader, count: count)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(present.count))
    writer.put(UInt32(0))
    writer.put(contentsOf: present.bytes)
  }
}

/// The answer to TOUCH.
package struct TouchResponse: FrameBody {
  /// How many of the keys were there.
  package let touched: Int

  /// Creates the answer.
  package init(touched: Int) { self.touched = touched }

  /// Decodes a whole body; throws a fault that names `reserved` or `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 8)
    touched = try reader.takeCount("touched", limit: Int(UInt32.max))
    try reader.takeZero(UInt32.self)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(touched))
    writer.put(UInt32(0))
  }
}

/// The answer to PIN and UNPIN.
package struct PinResponse: FrameBody {
  /// One bit per key: whether it is (or was) pinned.
  package let changed: Bitmap

  /// Creates the answer.
  package init(changed: Bitmap) { self.changed = changed }

  /// Decodes a whole body that answers a request for `count` keys.
  ///
  /// - Throws: a fault that names `pinned` if it is not the number of bits set, `reserved`,
  ///   `bitmap` or `bodyLength`.
  package init(from reader: inout ByteReader, count: Int) throws(FieldFault) {
    try reader.require(atLeast: 8)
    let pinned = try reader.takeCount("pinned", limit: count)
    try reader.takeZero(UInt32.self)
    changed = try Bitmap(from: &reader, count: count)
    guard changed.trueCount == pinned else {
      throw FieldFault("pinned", value: pinned, limit: changed.trueCount, "is not the bitmap's")
    }
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(changed.trueCount))
    writer.put(UInt32(0))
    writer.put(contentsOf: changed.bytes)
  }
}

/// The answer to PREFETCH.
package struct PrefetchResponse: FrameBody {
  /// How many of the keys are in RAM already.
  package let present: Int
  /// How many are on their way from a slower tier.
  package let started: Int

  /// Creates the answer.
  package init(present: Int, started: Int) {
    self.present = present
    self.started = started
  }

  /// Decodes a whole body; throws a fault that names `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 8)
    present = try reader.takeCount("present", limit: Int(UInt32.max))
    started = try reader.takeCount("started", limit: Int(UInt32.max))
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(present))
    writer.put(UInt32(started))
  }
}
