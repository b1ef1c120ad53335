import KDNCore
import KDNWire

/// Bytes that libFuzzer made up, read from the front; reads beyond the end give zeros.
struct FuzzInput {
  private let bytes: [UInt8]
  private var offset = 0

  init(_ data: UnsafePointer<UInt8>?, _ size: Int) {
    bytes = Array(UnsafeBufferPointer(start: data, count: size))
  }

  var isEmpty: Bool { offset >= bytes.count }

  mutating func byte() -> UInt8 {
    guard !isEmpty else { return 0 }
    defer { offset += 1 }
    return bytes[offset]
  }

  mutating func number() -> Int { Int(byte()) | Int(byte()) << 8 }

  mutating func take(_ count: Int) -> [UInt8] {
    let end = min(bytes.count, offset + count)
    defer { offset = end }
    return Array(bytes[offset..<end])
  }

  mutating func rest() -> [UInt8] { take(bytes.count - offset) }
}

func written(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
  var writer = ByteWriter()
  write(&writer)
  return writer.bytes
}
