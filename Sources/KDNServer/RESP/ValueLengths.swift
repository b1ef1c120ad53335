/// How long values are that clients store, so that a miss can be as long as what is awaited.
struct ValueLengths {
  /// Families remembered; beyond them all are forgotten, and learned anew.
  static let familiesMax = 256

  private var byFamily: [LMCacheKey: Int] = [:]
  /// The length of the last value of any key.
  private(set) var last: Int?

  /// Notes the length of a value.
  mutating func note(_ length: Int, of key: [UInt8]) {
    last = length
    guard let family = LMCacheKey(key) else { return }
    if byFamily[family] == nil, byFamily.count >= Self.familiesMax { byFamily = [:] }
    byFamily[family] = length
  }

  /// The length of the last value whose key is of the same family; nil if there was none.
  func length(likeOf key: [UInt8]) -> Int? { LMCacheKey(key).flatMap { byFamily[$0] } }
}
