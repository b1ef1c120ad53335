package import KDNCore

/// How keys of one group of layers are moved by so many positions.
package struct KeyRotation: Hashable, Sendable {
  /// Cosine and sine of each pair's angle.
  let cosines, sines: [Float]
  let isInterleaved: Bool

  /// Whether nothing turns, so that rows are moved as they are.
  package var isIdle: Bool { cosines.isEmpty }

  /// Nothing turns: values, keys without positions, keys that stay where they are.
  package static let idle = KeyRotation()

  private init() {
    (cosines, sines, isInterleaved) = ([], [], false)
  }

  /// Works out the angles of `distance` positions.
  ///
  /// Keys that are stored before rotation, or have none, do not turn.
  /// - Throws: a fault that names `rope` if an angle is too large.
  package init(_ rope: RoPE?, distance: Int) throws(FieldFault) {
    guard distance != 0, let rope, rope.keys == .afterRotation else {
      self = .idle
      return
    }
    do {
      let table = try RotationTable(
        frequencies: rope.pairFrequencies, firstToken: UInt64(distance), tokens: 1)
      (cosines, sines) = (table.cosines, table.sines)
    } catch {
      throw FieldFault(
        "rope", value: UInt64(distance), limit: 1 << 31, "keys cannot be turned so far")
    }
    isInterleaved = rope.pairing == .interleaved
  }
}
