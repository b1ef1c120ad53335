import KDNCore
import KDNTier

@testable import KDNPool

/// A coder of toy codecs that now and then fails or lies.
///
/// 1 (exact) keeps every other byte of bytes that come in pairs, 3 (lossy) every fourth one without
/// its lowest four bits.
final class SimulatedCoder: ObjectCoder {
  struct State: Sendable {
    var random: RandomSource
    /// One of so many encodings goes wrong; 0: none.
    var failsOneIn = 6
    /// Whether the next decoding gives other bytes and says that all is well.
    var liesNext = false
    var lies = 0
  }

  let state: Guarded<State>

  init(seed: UInt64) { state = Guarded(State(random: RandomSource(seed: seed))) }

  func isExact(_ codec: UInt8) -> Bool { codec == 1 }
  func canDecode(_ form: StoredForm) -> Bool { form.codec == 1 || form.codec == 3 }

  private static func step(_ codec: UInt8) -> Int { codec == 1 ? 2 : 4 }

  static func encoded(_ raw: [UInt8], as codec: UInt8) -> [UInt8] {
    stride(from: 0, to: raw.count, by: step(codec)).map {
      codec == 1 ? raw[$0] : raw[$0] & 0xF0
    }
  }

  static func decoded(_ bytes: [UInt8], as codec: UInt8, _ count: Int) -> [UInt8] {
    (0..<count).map { bytes[$0 / step(codec)] }
  }

  func profile(
    for codec: UInt8, _ layout: LayoutID, in namespace: NamespaceName
  ) -> CodecProfileUse {
    .notNeeded
  }

  func encode(_ raw: RawSpan, _ subject: CodingSubject, as codec: UInt8) -> EncodingAnswer {
    let bytes = raw.copied
    var made = Self.encoded(bytes, as: codec)
    let decoded = Self.decoded(made, as: codec, bytes.count)
    guard codec != 1 || decoded == bytes else { return .declined }
    var checksum = Checksum(of: decoded)
    let lie = state.withLock { state -> Int? in
      guard state.failsOneIn > 0, state.random.isOne(in: state.failsOneIn) else { return nil }
      state.lies += 1
      return state.random.number(below: 6)
    }
    switch lie {
    case 0: return .failed
    case 1: return .declined
    case 2: made[made.count / 2] ^= 0x40
    case 3: checksum = Checksum(checksum.value &+ 1)
    case 4: made += bytes
    case 5: state.withLock { $0.liesNext = true }
    default: break
    }
    return .encoded(Encoding(bytes: made, decodedChecksum: checksum))
  }

  func decode(
    _ encoded: RawSpan, _ form: StoredForm, _ subject: CodingSubject,
    into raw: inout MutableRawSpan
  ) -> DecodingAnswer {
    guard canDecode(form) else { return .undecodable }
    let count = raw.byteCount
    let needed = (count + Self.step(form.codec) - 1) / Self.step(form.codec)
    guard encoded.byteCount == needed else { return .failed }
    for (place, byte) in Self.decoded(encoded.copied, as: form.codec, count).enumerated() {
      raw.storeBytes(of: byte, toByteOffset: place, as: UInt8.self)
    }
    let lies = state.withLock { state in
      defer { state.liesNext = false }
      return state.liesNext
    }
    if lies { raw.storeBytes(of: 0xEE, toByteOffset: count - 1, as: UInt8.self) }
    return .decoded
  }
}

extension RawSpan {
  fileprivate var copied: [UInt8] { withUnsafeBytes { Array($0) } }
}

/// Does coding when the simulation says so, in any order.
// Safe because: one thread plays a whole simulation.
final class SimulatedExecutor: CodingExecutor, @unchecked Sendable {
  private var works: [@Sendable () -> Void] = []

  func run(_ work: @escaping @Sendable () -> Void) { works.append(work) }

  var isIdle: Bool { works.isEmpty }

  func step(_ random: inout RandomSource) -> Bool {
    guard !works.isEmpty else { return false }
    works.remove(at: random.number(below: works.count))()
    return true
  }

  func forget() { works = [] }
}
