internal import FoundationEssentials
internal import KDNCore

/// Requests for chains of blocks, in order; blocks are numbered from 0 as they first appear.
struct ReplayTrace {
  /// The blocks of each request, each behind the one it builds on.
  private(set) var requests: [[Int]] = []
  /// The block that each block builds on; nil for the first of a chain.
  private(set) var parents: [Int?] = []
  /// How many blocks come before each block in its chain.
  private(set) var depths: [Int] = []
  /// Blocks of all requests together.
  private(set) var blocksAsked = 0

  private var numbers: [UInt64: Int] = [:]

  /// Most bytes of a trace.
  static let bytesMax = 1 << 28
  /// Most bytes of a line.
  static let lineBytesMax = 1 << 20
  /// Most blocks of a request.
  static let blocksMax = 1 << 16

  /// How many different blocks there are.
  var blockCount: Int { parents.count }

  /// Reads JSON lines whose `hash_ids` name the blocks of a request's prompt.
  ///
  /// An id stands for a block and all blocks before it, so it always follows the same id. Other
  /// fields are let be.
  ///
  /// - Throws: what is wrong with the first line that cannot be used.
  init(parsing bytes: [UInt8]) throws(TraceFault) {
    var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    guard !lines.isEmpty else {
      throw TraceFault(line: 1, fault: FieldFault("trace", value: 0, limit: 1, "has no lines"))
    }
    for (place, line) in lines.enumerated() {
      do throws(FieldFault) {
        try append(Self.ids(in: line))
      } catch {
        throw TraceFault(line: place + 1, fault: error)
      }
    }
  }

  private mutating func append(_ ids: [UInt64]) throws(FieldFault) {
    var request: [Int] = []
    request.reserveCapacity(ids.count)
    for id in ids {
      let parent = request.last
      let number = numbers[id] ?? parents.count
      if number == parents.count {
        numbers[id] = number
        parents.append(parent)
        depths.append(request.count)
      }
      guard parents[number] == parent else {
        throw FieldFault(
          "hash_ids", value: id, limit: .max, "this id follows another one than where it was first")
      }
      request.append(number)
    }
    requests.append(request)
    blocksAsked += request.count
  }

  private static func ids(in line: ArraySlice<UInt8>) throws(FieldFault) -> [UInt64] {
    guard line.count <= lineBytesMax else {
      throw FieldFault("line", value: line.count, limit: lineBytesMax, "too many bytes")
    }
    let ids: [UInt64]
    do {
      ids = try JSONDecoder().decode(TraceLine.self, from: Data(line)).ids
    } catch {
      throw fault(for: error, in: line)
    }
    guard (1...blocksMax).contains(ids.count) else {
      throw FieldFault("hash_ids", value: ids.count, limit: blocksMax, "has no ids, or too many")
    }
    return ids
  }

  /// The decoder does not always tell where a number is that fits no `UInt64`; but whoever decodes
  /// as an object with `hash_ids` has its fault there.
  private static func fault(for error: any Error, in line: ArraySlice<UInt8>) -> FieldFault {
    guard (try? JSONDecoder().decode(TraceObject.self, from: Data(line))) != nil else {
      return FieldFault("line", value: line.count, limit: lineBytesMax, "is not a JSON object")
    }
    if case .keyNotFound(let key, _) = error as? DecodingError {
      return FieldFault(key.stringValue, value: 0, limit: 1, "is missing")
    }
    return FieldFault(
      "hash_ids", value: line.count, limit: lineBytesMax,
      "is not a list of whole numbers below 2^64")
  }
}

/// Any JSON object.
private struct TraceObject: Decodable {
  private enum CodingKeys: CodingKey {}

  init(from decoder: any Decoder) throws {
    _ = try decoder.container(keyedBy: CodingKeys.self)
  }
}

/// The one field of a line that a replay needs.
private struct TraceLine: Decodable {
  let ids: [UInt64]

  private enum CodingKeys: String, CodingKey {
    case ids = "hash_ids"
  }
}
