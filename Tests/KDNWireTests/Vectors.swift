import Foundation
import KDNCore
import KDNWire
import Testing

/// A JSON value, compared by content.
enum JSON: Equatable, Decodable, CustomStringConvertible {
  case null
  case bool(Bool)
  case number(UInt64)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if value.decodeNil() {
      self = .null
    } else if let bool = try? value.decode(Bool.self) {
      self = .bool(bool)
    } else if let number = try? value.decode(UInt64.self) {
      self = .number(number)
    } else if let text = try? value.decode(String.self) {
      self = .string(text)
    } else if let list = try? value.decode([JSON].self) {
      self = .array(list)
    } else {
      self = .object(try value.decode([String: JSON].self))
    }
  }

  static func int(_ value: some FixedWidthInteger) -> JSON { .number(UInt64(value)) }

  var description: String {
    switch self {
    case .null: "null"
    case .bool(let value): "\(value)"
    case .number(let value): "\(value)"
    case .string(let value): "\"\(value)\""
    case .array(let values): "\(values)"
    case .object(let fields):
      "{"
        + fields.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
        .joined(separator: ", ") + "}"
    }
  }
}

/// One row of `frames`.
struct FrameVector: Decodable, Sendable, CustomTestStringConvertible {
  struct Fields: Decodable, Sendable {
    let op: String
    let flags: UInt16
    let requestID: UInt64
    let status: String
    let place: UInt8
    let deadlineMillis: UInt32
    let body: JSON
    let payload: String
  }

  let name: String
  let fields: Fields
  let hex: String

  var testDescription: String { name }
  var bytes: [UInt8] { unhex(hex) }
  var isResponse: Bool { fields.flags & 1 != 0 }
  /// The place that the frame names; inline for one that this build does not know.
  var place: PayloadPlace { PayloadPlace(rawValue: fields.place) ?? .inline }

  /// The body's bytes: what lies between header and payload.
  var body: [UInt8] { Array(bytes.dropFirst(64).dropLast(fields.payload.count / 2)) }

  var operation: KDNWire.Operation? { KDNWire.Operation.allCases.first { $0.name == fields.op } }
  var isContinuation: Bool { fields.op == "GET" && isResponse && fields.body == .null }
}

/// One row of `faults`.
struct FaultVector: Decodable, Sendable, CustomTestStringConvertible {
  let name: String
  let status: String
  let field: String
  let framing: Bool
  /// The place that the connection grants beside inline.
  let grants: UInt8
  let hex: String

  var testDescription: String { name }
  var bytes: [UInt8] { unhex(hex) }
}

/// One row of `answerFaults`.
struct AnswerFaultVector: Decodable, Sendable, CustomTestStringConvertible {
  let name: String
  let op: String
  let place: UInt8
  let count: Int
  let field: String
  let hex: String

  var testDescription: String { name }
  var body: [UInt8] { unhex(hex) }
  var operation: KDNWire.Operation? { KDNWire.Operation.allCases.first { $0.name == op } }
}

enum Vectors {
  private struct File: Decodable {
    let frames: [FrameVector]
    let faults: [FaultVector]
    let answerFaults: [AnswerFaultVector]
  }

  private static let file: File = {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Vectors/frames.json")
    do {
      return try JSONDecoder().decode(File.self, from: Data(contentsOf: path))
    } catch {
      fatalError("\(path.path): \(error)")
    }
  }()

  static var frames: [FrameVector] { file.frames }
  static var faults: [FaultVector] { file.faults }
  static var answerFaults: [AnswerFaultVector] { file.answerFaults }
  static var requests: [FrameVector] { file.frames.filter { !$0.isResponse } }
  /// Answers with a body of their operation: no errors, no further frames of a GET.
  static var answers: [FrameVector] {
    file.frames.filter { $0.isResponse && $0.fields.status == "ok" && !$0.isContinuation }
  }
  static var errors: [FrameVector] { file.frames.filter { $0.fields.status != "ok" } }
}

func unhex(_ text: String) -> [UInt8] {
  let digits = text.utf8.map { $0 <= UInt8(ascii: "9") ? $0 - 48 : $0 - 87 }
  return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// A seeded generator, so that a failure can be repeated: SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// How many answers the request in front of an answer of the vectors asked for.
func answerCount(_ vector: FrameVector) -> Int {
  guard case .object(let body) = vector.fields.body else { return 0 }
  switch (vector.fields.op, body) {
  case ("MATCH", _):
    if case .number(let matched)? = body["matchedChunks"] {
      return Int(matched) + (body["cause"] == .string("none") ? 0 : 1)
    }
  case ("EXISTS", _):
    if case .array(let bits)? = body["bits"] { return bits.count }
  case ("GET", _):
    if case .array(let rows)? = body["descriptors"] { return rows.count }
  case ("CODEC_PROFILE", _):
    if case .array(let rows)? = body["descriptors"] { return rows.count }
  case ("PIN", _): return 3
  case ("UNPIN", _): return 1
  default: break
  }
  return 0
}
