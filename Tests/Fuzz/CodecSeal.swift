import Foundation
import KDNCodec
import KDNCore

/// Makes checksums of made-up objects right.
enum CodecSeal {
  static func put(_ value: UInt64, _ bytes: inout [UInt8], at offset: Int) {
    for index in 0..<8 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
  }

  /// Encoded checksums of all blocks that lie inside the object, then the header's.
  static func seal(_ object: inout [UInt8]) {
    guard object.count >= 168 else { return }
    let headerBytes = number(object, at: 8, width: 4)
    let blocks = number(object, at: 12, width: 4)
    guard headerBytes >= 168, headerBytes <= object.count, blocks * 48 + 120 <= headerBytes else {
      return
    }
    for index in 0..<blocks {
      let entry = headerBytes - 8 - (blocks - index) * 48
      let offset = number(object, at: entry + 8, width: 4)
      let count = number(object, at: entry + 16, width: 4)
      guard offset + count <= object.count else { continue }
      put(Checksum(of: object[offset..<offset + count]).value, &object, at: entry + 24)
    }
    put(Checksum(of: object, first: headerBytes - 8).value, &object, at: headerBytes - 8)
  }

  private static func number(_ bytes: [UInt8], at offset: Int, width: Int) -> Int {
    (0..<width).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
  }
}

/// What seed objects are decoded with.
enum Seeds {
  /// The profiles of the vectors, from the folder that `KDN_FUZZ_PROFILES` names.
  static func profiles() -> [Profile] {
    guard let folder = ProcessInfo.processInfo.environment["KDN_FUZZ_PROFILES"] else { return [] }
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.sorted().compactMap { name in
      guard let data = FileManager.default.contents(atPath: "\(folder)/\(name)") else { return nil }
      return try? Profile(validating: Array(data))
    }
  }
}
