internal import FoundationEssentials
package import KDNCore

/// What errors of each channel cost, as one run of the engine told (`kdn.calibrate` in Python).
///
/// JSON: `{"format": "kdn-calibration", "version": 1, "layout": "<32 hexadecimal digits>",
/// "planes": [{"layer": 0, "plane": "K", "importance": [number of each channel]}, …]}`; planes are
/// `K`, `V` and, of latent layers, `L`; channels are all KV heads of the layer, head by head.
/// Other members are left alone.
package struct Calibration: Sendable {
  /// Largest file that is read, in bytes.
  package static let byteCountMax = 256 << 20
  /// A channel counts at least this share of the plane's most important one.
  private static let shareMin: Float = 1e-3

  /// The layout that it is of.
  package let layout: String
  private let planes: [Place: [Float]]

  private struct Place: Hashable {
    let layer: Int
    let plane: String
  }

  private struct File: Decodable {
    struct Plane: Decodable {
      let layer: Int
      let plane: String
      let importance: [Float]
    }

    let format: String
    let version: Int
    let layout: String
    let planes: [Plane]
  }

  /// Reads the bytes of a calibration file.
  ///
  /// - Throws: a fault that names `calibration` if the bytes are no such JSON, or the member that
  ///   is malformed: `format`, `version`, `plane`, `importance`.
  package init(parsing bytes: [UInt8]) throws(FieldFault) {
    let file: File
    do {
      file = try JSONDecoder().decode(File.self, from: Data(bytes))
    } catch {
      throw FieldFault(
        "calibration", value: bytes.count, limit: 0, "is no JSON of a calibration: \(error)")
    }
    guard file.format == "kdn-calibration" else {
      throw FieldFault("format", value: 0, limit: 0, "'\(file.format)' is not kdn-calibration")
    }
    guard file.version == 1 else {
      throw FieldFault("version", value: file.version, limit: 1, "unknown version")
    }
    var planes: [Place: [Float]] = [:]
    for plane in file.planes {
      guard ["K", "V", "L"].contains(plane.plane) else {
        throw FieldFault("plane", value: 0, limit: 0, "'\(plane.plane)' is not K, V or L")
      }
      guard plane.importance.allSatisfy({ $0.isFinite && $0 >= 0 }),
        let largest = plane.importance.max(), largest > 0
      else {
        throw FieldFault(
          "importance", value: plane.layer, limit: 0,
          "must be finite, none negative and some positive, in each layer")
      }
      planes[Place(layer: plane.layer, plane: plane.plane)] = plane.importance.map {
        max($0, largest * Self.shareMin)
      }
    }
    layout = file.layout
    self.planes = planes
  }

  /// Throws a fault that names `layout` if the calibration is of another layout.
  func check(fits layout: Layout) throws(FieldFault) {
    guard self.layout == layout.id.description else {
      throw FieldFault(
        "layout", value: 0, limit: 0,
        "the calibration is of layout \(self.layout), not of \(layout.id)")
    }
  }

  /// Importance of the channels of heads `heads` of a plane of `dim` elements a head.
  ///
  /// - Throws: a fault that names `importance` if the plane is not there or has fewer channels.
  func importance(
    of place: PlanePlace, heads: Range<Int>
  ) throws(FieldFault) -> ArraySlice<Float> {
    let name =
      switch place.plane {
      case .keys: "K"
      case .values: "V"
      default: "L"
      }
    let channels = heads.lowerBound * place.dim..<heads.upperBound * place.dim
    let found = planes[Place(layer: place.layer, plane: name)] ?? []
    guard channels.upperBound <= found.count else {
      throw FieldFault(
        "importance", value: found.count, limit: channels.upperBound,
        "too few channels of plane \(name) of layer \(place.layer)")
    }
    return found[channels]
  }
}
