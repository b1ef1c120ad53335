internal import KDNCore

/// The 64 bytes in front of everything that the ceiling's two sides say to each other.
struct CeilingRequest {
  /// What the other side shall do.
  enum Action: UInt8 {
    /// Send `count` slots from `slot` on.
    case get = 1
    /// Take the bytes that follow into `slot`, and acknowledge.
    case put = 2
    /// Take `bytes` bytes that follow as a question, and acknowledge.
    case ask = 3
  }

  /// What the other side shall do.
  let action: Action
  /// The first slot.
  let slot: Int
  /// How many slots.
  let count: Int
  /// Bytes that follow a question.
  let bytes: Int

  /// Bytes of a request, and of an acknowledgement.
  static let byteCount = 64

  /// Creates a request.
  init(_ action: Action, slot: Int = 0, count: Int = 1, bytes: Int = 0) {
    self.action = action
    self.slot = slot
    self.count = count
    self.bytes = bytes
  }

  /// Takes the 64 bytes; throws a fault that names the field at fault.
  init(decoding bytes: [UInt8]) throws(FieldFault) {
    var reader = ByteReader(bytes)
    let raw: UInt8 = try reader.take("action")
    guard let action = Action(rawValue: raw) else {
      throw FieldFault("action", value: UInt64(raw), limit: 3, "no such action")
    }
    self.action = action
    slot = Int(try reader.take("slot", as: UInt32.self))
    count = Int(try reader.take("count", as: UInt32.self))
    self.bytes = Int(try reader.take("bytes", as: UInt32.self))
  }

  /// The 64 bytes.
  var encoded: [UInt8] {
    var writer = ByteWriter(capacity: Self.byteCount)
    writer.put(action.rawValue)
    writer.put(UInt32(slot))
    writer.put(UInt32(count))
    writer.put(UInt32(bytes))
    writer.putZeros(Self.byteCount - writer.bytes.count)
    return writer.bytes
  }
}
