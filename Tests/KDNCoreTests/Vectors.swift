import Foundation
import KDNCore
import Testing

/// Rows of `Vectors/hashes.json` and `Vectors/layouts.json`.
enum Vectors {
  struct Hashes: Decodable {
    let chains: [ChainVector]
    let invalidChains: [InvalidChainVector]
    let keys: [KeyVector]
    let invalidKeys: [InvalidVector]
  }

  struct Layouts: Decodable {
    let layouts: [LayoutVector]
    let invalidLayouts: [InvalidVector]
    let parts: [PartVector]
    let invalidParts: [InvalidPartVector]
    let selections: [SelectionVector]
  }

  static let hashes: Hashes = read("hashes.json")
  static let layouts: Layouts = read("layouts.json")

  /// The rows of a file of vectors.
  static func read<T: Decodable>(_ name: String) -> T {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Vectors/\(name)")
    do {
      return try JSONDecoder().decode(T.self, from: Data(contentsOf: path))
    } catch {
      fatalError("\(path.path): \(error)")
    }
  }

  /// The decoded layout of a name.
  static func layout(_ name: String) throws -> Layout {
    let row = try #require(layouts.layouts.first { $0.name == name })
    return try Layout(canonicalEncoding: unhex(row.hex))
  }
}

struct ChainVector: Decodable, Sendable, CustomTestStringConvertible {
  struct Fields: Decodable, Sendable {
    let model: String
    let salt: String
    let chunkTokens: Int
    let tokens: [UInt32]
  }
  let name: String
  let fields: Fields
  let root: String
  let documentRoot: String
  let hashes: [String]
  let tail: String?
  let documentHashes: [String]
  let documentTail: String?
  var testDescription: String { name }
}

struct InvalidChainVector: Decodable, Sendable, CustomTestStringConvertible {
  struct Fields: Decodable, Sendable {
    let model: String
    let salt: String
    let chunkTokens: Int?
  }
  let name: String
  let fields: Fields
  let field: String
  var testDescription: String { name }
}

struct KeyVector: Decodable, Sendable, CustomTestStringConvertible {
  struct Fields: Decodable, Sendable {
    let kind: String
    let hash: String?
    let layoutID: String?
    let part: PartFields?
    let variant: UInt32?
    let clientKey: String?
  }
  let name: String
  let fields: Fields
  let hex: String
  var testDescription: String { name }
}

struct InvalidVector: Decodable, Sendable, CustomTestStringConvertible {
  let name: String
  let hex: String
  let field: String
  var testDescription: String { name }
}

struct PartFields: Decodable, Sendable {
  let firstLayer: UInt16
  let layerCount: UInt16
  let firstKVHead: UInt16
  let kvHeadCount: UInt16
  var part: Part {
    Part(
      firstLayer: firstLayer, layerCount: layerCount, firstKVHead: firstKVHead,
      kvHeadCount: kvHeadCount)
  }
}

struct LayoutVector: Decodable, Sendable, CustomTestStringConvertible {
  struct Fields: Decodable, Sendable {
    let dtype: String
    let groups: [Group]
  }
  struct Group: Decodable, Sendable {
    let kind: String
    let layers: [UInt16]
    let kvHeads: UInt16?
    let headDim: UInt16?
    let rank: UInt16?
    let ropeDim: UInt16?
    let bytesPerToken: UInt32?
    let slidingWindow: UInt32
    let rope: Rope?
  }
  struct Rope: Decodable, Sendable {
    let theta: Double
    let scaling: String
    let pairing: String
    let keys: String
    let rotaryDims: UInt16
    let factors: [Double]
  }
  let name: String
  let fields: Fields
  let hex: String
  let id: String
  let bytesPerToken: Int
  var testDescription: String { name }
}

struct PartVector: Decodable, Sendable {
  let layout: String
  let part: PartFields
  let bytesPerToken: Int
}

struct InvalidPartVector: Decodable, Sendable {
  let layout: String
  let part: PartFields
  let field: String
}

struct SelectionVector: Decodable, Sendable {
  let layout: String
  let part: PartFields
  let selection: PartFields
  let tokenCount: Int
  let objectBytes: Int
  let ranges: [[Int]]
}

func unhex(_ text: String) -> [UInt8] {
  let digits = text.utf8.map { $0 <= UInt8(ascii: "9") ? $0 - 48 : $0 - 87 }
  return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// The fault that `body` ends with, which must be a fault.
func fault(_ body: () throws -> Void) -> FieldFault? {
  #expect(throws: FieldFault.self, performing: body)
}
