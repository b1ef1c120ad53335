import KDNCodec
import KDNCore
import Testing

@testable import KDNProfile

@Suite struct CalibrationTests {
  private func json(
    _ kv: SyntheticKV, format: String = "kdn-calibration", version: Int = 1,
    plane: String = "K", keys: String? = nil
  ) -> [UInt8] {
    let all = (1...kv.heads * kv.dim).map { "\($0)" }.joined(separator: ", ")
    let planes = (0..<kv.layerCount).flatMap { layer in
      [
        "{\"layer\": \(layer), \"plane\": \"\(plane)\", \"importance\": [\(keys ?? all)]}",
        "{\"layer\": \(layer), \"plane\": \"V\", \"importance\": [\(all)], \"note\": 1}",
      ]
    }
    return Array(
      """
      {"format": "\(format)", "version": \(version), "layout": "\(kv.layout.id)",
       "rounds": 2, "planes": [\(planes.joined(separator: ", "))]}
      """.utf8)
  }

  @Test func channelsOfImportanceHaveSmallUnits() throws {
    let kv = try SyntheticKV(layers: 2)
    let calibration = try Calibration(parsing: json(kv))
    let chunks = (0..<12).map { kv.chunk(tokens: 64, seed: UInt64($0)) }
    let (profile, report) = try kv.learn(.groupedBasis, chunks, calibration: calibration)
    #expect(report.isCalibrated)
    let known = try #require(profile.plane(layerIndex: 1, .values))
    for channel in 1..<8 {
      let ratio = known.weights[0] / known.weights[channel]
      #expect(abs(ratio - Float(channel + 1)) < 1e-3)
    }
    let basis = try #require(profile.bases.last)
    #expect(Array(basis.scales[8...]) == known.weights)
    for factor in 0..<3 {
      let direction = kv.direction(factor, of: basis)
      #expect(LearnedBasis(basis).share(of: direction, first: 3) > 0.999)
    }
  }

  @Test func headsOfAPartTakeTheirOwnShareOfTheImportance() throws {
    let kv = try SyntheticKV(layers: 1, heads: 2, dim: 4)
    let calibration = try Calibration(parsing: json(kv))
    let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 1, kvHeadCount: 1)
    let plane = try #require(try PlanePlace.all(of: part, kv.layout).planes.first)
    #expect(try calibration.importance(of: plane, heads: 1..<2) == [5, 6, 7, 8])
  }

  @Test func aChannelOfNoImportanceCountsATinyShare() throws {
    let kv = try SyntheticKV(layers: 1)
    let calibration = try Calibration(parsing: json(kv, keys: "0, 1, 2, 3, 4, 5, 6, 1000"))
    let plane = try #require(try PlanePlace.all(of: kv.part, kv.layout).planes.first)
    #expect(try calibration.importance(of: plane, heads: 0..<2).first == 1)
  }

  @Test(arguments: [
    ("format", "\"kdn-calibration\"", "\"other\""), ("version", "\"version\": 1", "\"version\": 2"),
    ("plane", "\"K\"", "\"Q\""), ("importance", "[1, 2", "[-1, 2"),
    ("calibration", "{", "["), ("calibration", "[1, 2", "[\"1\", 2"),
  ])
  func malformedFilesAreRefusedWithTheMember(_ field: String, _ old: String, _ new: String) throws {
    let kv = try SyntheticKV(layers: 1)
    let text = String(decoding: json(kv), as: UTF8.self)
    var parts = text.split(separator: old, omittingEmptySubsequences: false).map(String.init)
    #expect(parts.count > 1)
    parts[0] += new + parts.remove(at: 1)
    let bytes = Array(parts.joined(separator: old).utf8)
    do {
      _ = try Calibration(parsing: bytes)
      Issue.record("took a malformed file")
    } catch {
      #expect(error.field == field)
    }
  }

  @Test func aCalibrationOfAnotherLayoutOrOfFewerChannelsIsRefused() throws {
    let (kv, other) = (try SyntheticKV(layers: 1), try SyntheticKV(layers: 2))
    let calibration = try Calibration(parsing: json(other))
    do {
      _ = try ProfileLearner(
        .weights, layout: kv.layout, part: kv.part, calibration: calibration)
      Issue.record("took a calibration of another layout")
    } catch {
      guard case .field(let fault) = error else { throw error }
      #expect(fault.field == "layout")
    }
    let short = try Calibration(parsing: json(kv, keys: "1, 2"))
    do {
      _ = try kv.learn(.weights, [kv.chunk(tokens: 8, seed: 1)], calibration: short)
      Issue.record("took a calibration of fewer channels")
    } catch let error as LearningFault {
      guard case .field(let fault) = error else { throw error }
      #expect(fault.field == "importance" && fault.value == 2 && fault.limit == 8)
    }
  }
}
