import KDNCore
import KDNTier
import Synchronization

@testable import KDNPool

/// A coder of toy codecs that does as the test says.
///
/// 1 (exact) keeps every other byte of bytes that come in pairs, 3 (lossy) every fourth one without
/// its lowest four bits. Anything else it does not know.
final class ScriptedCoder: ObjectCoder {
  /// What it does wrong from now on.
  enum Fault: CaseIterable {
    case none
    case declines
    case fails
    /// Its bytes are not those that it tells.
    case alters
    /// It tells another checksum of what decoding gives.
    case liesAboutChecksum
    /// It gives as many bytes as it was given.
    case grows
    /// It cannot decode what it made.
    case cannotDecode
    /// It gives other bytes when decoding, and says that all is well.
    case decodesOther
  }

  struct State: Sendable {
    var fault = Fault.none
    var decodeFault = Fault.none
    var hasProfile = true
    /// What it would encode with.
    var profile = CodecProfileUse.notNeeded
    var encodes = 0
    var decodes = 0
    /// What the test does, once, in the middle of an encoding.
    var onEncode: (@Sendable () -> Void)?
  }

  let state = Guarded(State())

  func set(_ change: (inout State) -> Void) { state.withLock { change(&$0) } }

  var encodes: Int { state.withLock { $0.encodes } }
  var decodes: Int { state.withLock { $0.decodes } }

  func isExact(_ codec: UInt8) -> Bool { codec == 1 }

  func canDecode(_ form: StoredForm) -> Bool {
    (form.codec == 1 || form.codec == 3) && state.withLock { $0.hasProfile }
  }

  static func step(_ codec: UInt8) -> Int { codec == 1 ? 2 : 4 }

  static func decoded(_ bytes: [UInt8], _ codec: UInt8, _ count: Int) -> [UInt8] {
    (0..<count).map { bytes[$0 / step(codec)] }
  }

  static func encoded(_ raw: [UInt8], _ codec: UInt8) -> [UInt8] {
    stride(from: 0, to: raw.count, by: step(codec)).map {
      codec == 1 ? raw[$0] : raw[$0] & 0xF0
    }
  }

  func profile(
    for codec: UInt8, _ layout: LayoutID, in namespace: NamespaceName
  ) -> CodecProfileUse {
    state.withLock { $0.profile }
  }

  func encode(_ raw: RawSpan, _ subject: CodingSubject, as codec: UInt8) -> EncodingAnswer {
    let (fault, act) = state.withLock { state in
      state.encodes += 1
      let act = state.onEncode
      state.onEncode = nil
      return (state.fault, act)
    }
    act?()
    let bytes = raw.withUnsafeBytes { Array($0) }
    var made = Self.encoded(bytes, codec)
    let decoded = Self.decoded(made, codec, bytes.count)
    if codec == 1, decoded != bytes { return .declined }
    var checksum = Checksum(of: decoded)
    switch fault {
    case .declines: return .declined
    case .fails: return .failed
    case .alters: made[made.count / 2] ^= 0x10
    case .liesAboutChecksum: checksum = Checksum(checksum.value ^ 1)
    case .grows: made = bytes
    case .none, .cannotDecode, .decodesOther: break
    }
    return .encoded(Encoding(bytes: made, decodedChecksum: checksum))
  }

  func decode(
    _ encoded: RawSpan, _ form: StoredForm, _ subject: CodingSubject,
    into raw: inout MutableRawSpan
  ) -> DecodingAnswer {
    let fault = state.withLock { state in
      state.decodes += 1
      return state.decodeFault == .none ? state.fault : state.decodeFault
    }
    if fault == .cannotDecode { return .failed }
    guard canDecode(form) else { return .undecodable }
    let bytes = encoded.withUnsafeBytes { Array($0) }
    for (place, byte) in Self.decoded(bytes, form.codec, raw.byteCount).enumerated() {
      raw.storeBytes(of: byte, toByteOffset: place, as: UInt8.self)
    }
    if fault == .decodesOther { raw.storeBytes(of: 0xEE, toByteOffset: 0, as: UInt8.self) }
    return .decoded
  }
}

/// Does coding when the test says so, on the test's thread.
final class ManualExecutor: CodingExecutor {
  private let works = Guarded<[@Sendable () -> Void]>([])

  func run(_ work: @escaping @Sendable () -> Void) { works.withLock { $0.append(work) } }

  var waiting: Int { works.withLock { $0.count } }

  /// Does what waits, and what that brings.
  func runAll() {
    while let work = works.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { work() }
  }

  func runOne() {
    let work = works.withLock { $0.isEmpty ? nil : $0.removeFirst() }
    work?()
  }

  deinit { works.withLock { $0 = [] } }
}

/// A pool over RAM and a scripted tier with a scripted coder.
struct CodingPool {
  let tiers: TwoTiers
  let coder = ScriptedCoder()
  let decoding = ManualExecutor()
  let encoding = ManualExecutor()

  /// RAM for eight objects of 32 KiB as they are stored.
  init(
    _ rules: [EncodingPolicy.Rule], kibibytes: Int = 256, stagingKibibytes: Int = 0,
    keepsDecodedFromUse: UInt64? = nil, writeBytesPerDay: Int = 0,
    prepare: (ScriptedTier) throws -> Void = { _ in },
    settings: (inout CodingSettings) -> Void = { _ in }
  ) throws {
    tiers = try TwoTiers(
      kibibytes: kibibytes, stagingKibibytes: stagingKibibytes, prepare: prepare,
      adjust: { $0.writeBytesPerDay = writeBytesPerDay })
    var made = CodingSettings()
    settings(&made)
    tiers.pool.startCoding(coder, decoding: decoding, encoding: encoding, settings: made)
    var policy = EncodingPolicy()
    policy.rules = rules
    policy.keepsDecodedFromUse = keepsDecodedFromUse
    tiers.pool.setEncodingPolicy(policy)
  }

  var pool: Pool { tiers.pool }

  /// Begins to recode in the tenant.
  func recode(
    _ order: RecodingOrder, whenOver: @escaping @Sendable (Recoding.Progress) -> Void = { _ in }
  ) -> Recoding? {
    pool.recode(order, in: tenant, whenOver: whenOver)
  }
  var tenant: Namespace { tiers.fixture.tenant }
  var coding: CodingStatistics { pool.statistics.coding }

  /// Lets seconds pass, and the pool do what is due then.
  func pass(seconds: Int) {
    tiers.fixture.clock.advance(milliseconds: UInt64(seconds) * 1000)
    pool.tick(now: tiers.fixture.clock.now())
  }

  /// Lets everything that is under way come to its end.
  func settle() {
    for _ in 0..<8 {
      encoding.runAll()
      decoding.runAll()
      tiers.tier.endReads()
      tiers.tier.endWrites()
    }
  }

  /// The form in RAM: nil if RAM lacks the object, else the codec's number.
  func codecInRAM(_ number: Int) -> UInt8? {
    let object = pool.live(tiers.key(number), in: tenant, now: tiers.fixture.clock.now())
    return object.map { $0.body.form?.codec ?? 0 }
  }

  /// The form below: nil if the tier lacks the object, else the codec's number.
  func codecBelow(_ number: Int) -> UInt8? {
    guard case .held(let facts) = tiers.tier.find(tiers.key(number), in: tenant.name) else {
      return nil
    }
    return facts.form?.codec ?? 0
  }

  /// What a reader gets who takes these forms, and fetches what has to be fetched.
  func read(_ number: Int, accepting accepted: CodecSet = .raw) -> Taken? {
    let key = tiers.key(number)
    let fetch = pool.fetch([key], in: tenant, accepting: accepted) {}
    settle()
    if let fetch { return tiers.take(number, from: fetch) }
    return Taken(pool.lookup(key, in: tenant, accepting: accepted))
  }
}

extension CodecSet {
  static let exact = CodecSet(rawValue: 1 << 1)
}

extension EncodingPolicy.Rule {
  static func cold(_ codec: UInt8, after seconds: Int = 60) -> Self {
    Self(tier: .ram, idleSecondsMin: seconds, codec: codec)
  }

  static func disk(_ codec: UInt8) -> Self { Self(tier: .disk, codec: codec) }
}
