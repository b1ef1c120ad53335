internal import KDNCore

extension KernelTwin {
  /// Puts the zeros of class 0 back: dense rows `[token][channel]`.
  private static func dense(_ q: [Int16], classes: [UInt8], tokens: Int) -> [Int16] {
    let coded = classes.indices.filter { classes[$0] != 0 }
    let width = (coded.count + 31) / 32 * 32
    var rows = [Int16](repeating: 0, count: classes.count * tokens)
    for token in 0..<tokens {
      for (index, channel) in coded.enumerated() {
        rows[token * classes.count + channel] = q[token * width + index]
      }
    }
    return rows
  }

  /// Elements of a uniform block, in `room`, the window's span.
  package static func reconstruct(
    _ window: KernelWindow, _ steps: KernelSteps, _ q: [Int16], into room: inout [UInt8]
  ) {
    let rows = dense(q, classes: steps.classes, tokens: window.tokens)
    let values = rows.indices.map { index in
      let channel = index % window.channels
      let step = steps.weights.map { steps.step * $0[channel] } ?? steps.step
      return Float(16 * Int32(rows[index]) + Int32(steps.means[channel])) * (step * 0.0625)
    }
    store(window, values, into: &room)
  }

  /// Elements of a plane of a transform block.
  package static func transform(
    _ window: KernelWindow, _ basis: KernelBasis, _ q: [Int16], into room: inout [UInt8]
  ) {
    let coded = basis.classes.indices.filter { basis.classes[$0] != 0 }
    let width = (coded.count + 31) / 32 * 32
    var values = [Float](repeating: 0, count: window.channels * window.tokens)
    for token in 0..<window.tokens {
      for channel in 0..<window.channels {
        var sum: Int32 = 0
        for (index, row) in coded.enumerated() {
          let factor = basis.factor(row, basis.firstColumn + channel)
          sum &+= Int32(q[token * width + index]) * factor
        }
        let scaled = Float(sum) * (basis.scales[channel] * basis.step)
        values[token * window.channels + channel] = scaled + basis.offsets[channel]
      }
    }
    store(window, values, into: &room)
  }

  /// Rows `[token][channel]` rotated, rounded and put in canonical order.
  package static func store(_ window: KernelWindow, _ rows: [Float], into room: inout [UInt8]) {
    for token in 0..<window.tokens {
      for head in 0..<window.heads {
        let first = token * window.channels + head * window.dims
        var x = Array(rows[first..<first + window.dims])
        if let rotation = window.rotation { turn(&x, rotation, token: token, sign: 1) }
        for dim in 0..<window.dims {
          let bits = round(x[dim], to: window.type)
          put(bits, window, window.offset(head: head, token: token, dim: dim), into: &room)
        }
      }
    }
  }

  /// Elements to rows `[token][channel]`, rotated back.
  package static func load(_ window: KernelWindow, _ elements: [UInt8]) -> [Float] {
    var rows: [Float] = []
    for token in 0..<window.tokens {
      for head in 0..<window.heads {
        var x = (0..<window.dims).map { dim in
          value(
            of: bits(window, window.offset(head: head, token: token, dim: dim), of: elements),
            as: window.type)
        }
        if let rotation = window.rotation { turn(&x, rotation, token: token, sign: -1) }
        rows += x
      }
    }
    return rows
  }

  private static func turn(
    _ x: inout [Float], _ rotation: KernelRotation, token: Int, sign: Float
  ) {
    let half = rotation.dims / 2
    for index in 0..<half {
      let (first, second) = rotation.pair(index)
      let a = x[first]
      let b = x[second]
      let cosine = rotation.cosines[token * half + index]
      let sine = sign * rotation.sines[token * half + index]
      x[first] = a * cosine - b * sine
      x[second] = b * cosine + a * sine
    }
  }

  // MARK: exact

  /// The field that is coded and the bytes that are not, the first plane's first.
  private static func cut(_ bits: UInt32, _ type: ElementType) -> (field: UInt8, rest: [UInt8]) {
    switch type {
    case .bf16, .f16:
      (UInt8(bits >> 7 & 0xff), [UInt8(bits >> 8 & 0x80 | bits & 0x7f)])
    case .f32:
      (
        UInt8(bits >> 23 & 0xff),
        [UInt8(bits >> 24 & 0x80 | bits >> 16 & 0x7f), UInt8(bits >> 8 & 0xff), UInt8(bits & 0xff)]
      )
    case .f8e4m3, .f8e5m2, .i8: (UInt8(bits), [])
    }
  }

  private static func join(_ field: UInt8, _ rest: [UInt8], _ type: ElementType) -> UInt32 {
    let field = UInt32(field)
    let rest = rest.map { UInt32($0) }
    return switch type {
    case .bf16, .f16: (rest[0] & 0x80) << 8 | field << 7 | rest[0] & 0x7f
    case .f32:
      (rest[0] & 0x80) << 24 | field << 23 | (rest[0] & 0x7f) << 16 | rest[1] << 8 | rest[2]
    case .f8e4m3, .f8e5m2, .i8: field
    }
  }

  /// Dense rows of symbols, padded to 32, and the rest planes in canonical order.
  package static func split(
    _ window: KernelWindow, _ elements: [UInt8], bases: [UInt8]
  ) -> (q: [Int16], rest: [[UInt8]]) {
    let width = (window.channels + 31) / 32 * 32
    let planes = cut(0, window.type).rest.count
    var q = [Int16](repeating: 0, count: width * window.tokens)
    var rest = [[UInt8]](repeating: [], count: planes)
    for head in 0..<window.heads {
      for token in 0..<window.tokens {
        for dim in 0..<window.dims {
          let place = window.offset(head: head, token: token, dim: dim)
          let parts = cut(bits(window, place, of: elements), window.type)
          let channel = head * window.dims + dim
          let symbol = Int8(bitPattern: parts.field &- bases[channel])
          q[token * width + channel] = symbol == -128 ? 128 : Int16(symbol)
          for plane in 0..<planes { rest[plane].append(parts.rest[plane]) }
        }
      }
    }
    return (q, rest)
  }

  /// Elements from symbols and rest planes, in `room`, the window's span.
  package static func merge(
    _ window: KernelWindow, _ q: [Int16], classes: [UInt8], bases: [UInt8], rest: [[UInt8]],
    into room: inout [UInt8]
  ) {
    let rows = dense(q, classes: classes, tokens: window.tokens)
    for head in 0..<window.heads {
      for token in 0..<window.tokens {
        for dim in 0..<window.dims {
          let channel = head * window.dims + dim
          let symbol = UInt8(truncatingIfNeeded: rows[token * window.channels + channel])
          let at = (head * window.tokens + token) * window.dims + dim
          let bits = join(bases[channel] &+ symbol, rest.map { $0[at] }, window.type)
          put(bits, window, window.offset(head: head, token: token, dim: dim), into: &room)
        }
      }
    }
  }

  // MARK: bytes

  private static func bits(_ window: KernelWindow, _ place: Int, of bytes: [UInt8]) -> UInt32 {
    let size = window.type.byteCount
    return (0..<size).reduce(0) { $0 | UInt32(bytes[place * size + $1]) << UInt32(8 * $1) }
  }

  private static func put(
    _ bits: UInt32, _ window: KernelWindow, _ place: Int, into bytes: inout [UInt8]
  ) {
    let size = window.type.byteCount
    for index in 0..<size {
      bytes[place * size + index] = UInt8(truncatingIfNeeded: bits >> UInt32(8 * index))
    }
  }
}

extension KernelBasis {
  /// A value of the matrix, to whole coarse steps if the row counts in them.
  fileprivate func factor(_ row: Int, _ column: Int) -> Int32 {
    let value = Int32(matrix[row * columns + column])
    guard classes[row] & 0x80 != 0 else { return value }
    let steps = (value + (1 << Int32(shift)) / 2) >> Int32(shift)
    return min(max(steps, -128), 127) << Int32(shift)
  }
}
