internal import Glibc
internal import KDNCore

/// Reads planes of chunks as rows of f32, one row per token, keys turned back to position 0.
struct RowReader {
  private let elementType: ElementType
  private let byteValues: [Float]?
  private let frequencies: [RoPE: [Double]]
  /// Cosines and sines of the chunk that was read last, `[token][pair]`.
  private var turns: [RoPE: Turn] = [:]

  private struct Turn {
    let cosines, sines: [Float]
  }

  /// A reader for the planes `planes` of a layout.
  init(_ elementType: ElementType, _ planes: [PlanePlace]) {
    self.elementType = elementType
    byteValues = ElementTable.values(of: elementType)
    var frequencies: [RoPE: [Double]] = [:]
    for case let rotation? in planes.map(\.rotation) {
      frequencies[rotation.rope] = rotation.rope.pairFrequencies
    }
    self.frequencies = frequencies
  }

  /// Gets ready for the tokens of another chunk.
  mutating func turn(to firstToken: UInt64, tokenCount: Int) {
    turns = frequencies.mapValues { frequencies in
      var cosines: [Float] = []
      var sines: [Float] = []
      for token in 0..<tokenCount {
        for frequency in frequencies {
          let angle = Double(firstToken + UInt64(token)) * frequency
          cosines.append(Float(cos(angle)))
          sines.append(Float(sin(angle)))
        }
      }
      return Turn(cosines: cosines, sines: sines)
    }
  }

  /// Reads the planes of `run` into `rows`, `[tokens.count][run.channelCount]`.
  ///
  /// The rows must have room for them, and the reader must have been turned to the chunk.
  func read(_ run: PlaneRun, of chunk: KVChunk, tokens: Range<Int>, into rows: inout [Float]) {
    let width = run.channelCount
    precondition(rows.count >= tokens.count * width && tokens.upperBound <= chunk.tokenCount)
    var column = 0
    for plane in run.planes {
      copy(plane, of: chunk, tokens, to: &rows, column: column, width: width)
      if let rotation = plane.rotation, let turn = turns[rotation.rope] {
        let half = Int(rotation.rope.rotaryDims) / 2
        let isInterleaved = rotation.rope.pairing == .interleaved
        for head in 0..<plane.heads {
          turnBack(
            &rows, from: column + head * plane.dim + rotation.start, width: width, tokens, half,
            isInterleaved, turn)
        }
      }
      column += plane.channelCount
    }
  }

  private func copy(
    _ plane: PlanePlace, of chunk: KVChunk, _ tokens: Range<Int>, to rows: inout [Float],
    column: Int, width: Int
  ) {
    let size = elementType.byteCount
    let start = plane.bytesBefore * chunk.tokenCount
    precondition(start + plane.channelCount * chunk.tokenCount * size <= chunk.bytes.count)
    let dim = plane.dim
    // Safe because: the plane lies inside the chunk and the rows have room, both checked above.
    unsafe chunk.bytes.withUnsafeBytes { bytes in
      unsafe rows.withUnsafeMutableBufferPointer { rows in
        for head in 0..<plane.heads {
          for (row, token) in tokens.enumerated() {
            let source = start + (head * chunk.tokenCount + token) * dim * size
            let target = row * width + column + head * dim
            unsafe copy(bytes, from: source, count: dim, to: rows, at: target)
          }
        }
      }
    }
  }

  @inline(__always)
  private func copy(
    _ bytes: UnsafeRawBufferPointer, from source: Int, count: Int,
    to rows: UnsafeMutableBufferPointer<Float>, at target: Int
  ) {
    switch elementType {
    case .bf16:
      for index in 0..<count {
        let bits = unsafe bytes.loadUnaligned(fromByteOffset: source + 2 * index, as: UInt16.self)
        unsafe rows[target + index] = Float(bitPattern: UInt32(UInt16(littleEndian: bits)) << 16)
      }
    case .f16:
      for index in 0..<count {
        let bits = unsafe bytes.loadUnaligned(fromByteOffset: source + 2 * index, as: UInt16.self)
        unsafe rows[target + index] = Float(Float16(bitPattern: UInt16(littleEndian: bits)))
      }
    case .f32:
      for index in 0..<count {
        let bits = unsafe bytes.loadUnaligned(fromByteOffset: source + 4 * index, as: UInt32.self)
        unsafe rows[target + index] = Float(bitPattern: UInt32(littleEndian: bits))
      }
    case .f8e4m3, .f8e5m2, .i8:
      guard let byteValues else { return }
      for index in 0..<count {
        unsafe rows[target + index] = byteValues[Int(bytes[source + index])]
      }
    }
  }

  /// Turns pairs of columns from `first` on by minus the angles of each token.
  private func turnBack(
    _ rows: inout [Float], from first: Int, width: Int, _ tokens: Range<Int>, _ half: Int,
    _ isInterleaved: Bool, _ turn: Turn
  ) {
    // Safe because: the columns lie inside a plane of `rows`, and a turn has `half` pairs of
    // cosine and sine for each token of the chunk.
    unsafe rows.withUnsafeMutableBufferPointer { rows in
      unsafe turn.cosines.withUnsafeBufferPointer { cosines in
        unsafe turn.sines.withUnsafeBufferPointer { sines in
          for (row, token) in tokens.enumerated() {
            let start = row * width + first
            for pair in 0..<half {
              let left = start + (isInterleaved ? 2 * pair : pair)
              let right = isInterleaved ? left + 1 : left + half
              let cosine = unsafe cosines[token * half + pair]
              let sine = unsafe sines[token * half + pair]
              let (a, b) = unsafe (rows[left], rows[right])
              unsafe rows[left] = a * cosine + b * sine
              unsafe rows[right] = b * cosine - a * sine
            }
          }
        }
      }
    }
  }
}
