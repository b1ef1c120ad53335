import KDNCodec
import KDNCore
import Testing

@Suite("Plane kernels")
struct KernelPlaneTests {
  let frequencies = NativeKernels.classFrequencies

  @Test("uniform planes are equal on each path and in Swift", arguments: KernelCase.all)
  func uniform(example: KernelCase) throws {
    var random = KernelRandom(seed: UInt64(example.dims * 1000 + example.tokens))
    let window = try example.window
    for kind in KernelMatrix.Kind.allCases {
      let matrix = KernelMatrix(
        kind, count: window.channels, tokens: window.tokens, random: &random)
      let weights = matrix.classes.map { _ in Float(random.normal().magnitude + 0.01) }
      let steps = KernelSteps(
        classes: matrix.classes,
        means: matrix.classes.map { _ in .random(in: -400...400, using: &random) },
        weights: kind == .usual ? weights : nil, step: 0.0371)
      let stream = try NativeKernels.encode(
        .automatic, matrix.q, classes: matrix.classes, frequencies: frequencies,
        tokens: window.tokens)
      // What lies between the heads' windows must stay as it is.
      let room = random.bytes(window.span * window.type.byteCount)
      var wanted = room
      KernelTwin.reconstruct(window, steps, matrix.q, into: &wanted)
      for path in KernelPath.runnable {
        var found = room
        try NativeKernels.uniform(
          path, window, steps, stream, frequencies: frequencies, into: &found)
        #expect(found == wanted, "\(path) \(kind)")
      }
    }
  }

  @Test("transformed planes are equal on each path and in Swift", arguments: KernelCase.all)
  func transform(example: KernelCase) throws {
    var random = KernelRandom(seed: UInt64(example.dims * 1001 + example.tokens))
    let window = try example.window
    for count in example.tokens > 1000 ? [3] : [1, 2, 45] {
      let columns = window.channels + 7
      let matrix = KernelMatrix(
        count == 1 ? .wide : .usual, count: count, tokens: window.tokens, random: &random)
      // Whole fours of coarse rows, and some over; values of any size are cut to what they hold.
      let classes = matrix.classes.enumerated().map { index, cls in
        count > 1 && cls > 0 && index % 5 != 1 ? cls | 0x80 : cls
      }
      let basis = KernelBasis(
        classes: classes, shift: UInt32(example.dims) % 9,
        matrix: (0..<count * columns).map { _ in .random(in: .min ... .max, using: &random) },
        columns: columns, firstColumn: 4,
        scales: (0..<window.channels).map { _ in Float(random.normal() * 0.001) },
        offsets: (0..<window.channels).map { _ in Float(random.normal()) }, step: 0.0123)
      let room = random.bytes(window.span * window.type.byteCount)
      var wanted = room
      KernelTwin.transform(window, basis, matrix.q, into: &wanted)
      for path in KernelPath.runnable {
        var found = room
        try NativeKernels.transform(path, window, basis, matrix.q, into: &found)
        #expect(found == wanted, "\(path) \(count)")
      }
    }
  }

  @Test("coefficients of coarse rows are at most 127, on each path")
  func coarseCoefficients() throws {
    let window = KernelWindow(type: .f32, heads: 1, dims: 2, tokens: 3)
    for (largest, fits) in [(127, true), (-127, true), (128, false), (-128, false)]
      as [(Int16, Bool)]
    {
      var q = [Int16](repeating: 0, count: 3 * 32)
      q[32] = 400
      q[2 * 32 + 1] = largest
      let basis = KernelBasis(
        classes: [30, 0x80 | 30], shift: 3, matrix: [100, -100, 32767, -32768], columns: 2,
        firstColumn: 0, scales: [1, 1], offsets: [0, 0], step: 1)
      for path in KernelPath.runnable {
        var room = [UInt8](repeating: 0, count: 24)
        let transform: () throws -> Void = {
          try NativeKernels.transform(path, window, basis, q, into: &room)
        }
        if fits {
          try transform()
        } else {
          #expect(throws: KernelFault.outOfRange, performing: transform)
        }
      }
    }
  }

  @Test("any bits pass through the exact cut, on each path as in Swift", arguments: KernelCase.all)
  func exact(example: KernelCase) throws {
    var random = KernelRandom(seed: UInt64(example.dims * 1002 + example.tokens))
    let window = try example.window
    let flat = [UInt16](repeating: 8, count: 256)
    let elements = random.bytes(window.span * window.type.byteCount)
    let bases = random.bytes(window.channels)
    let classes = [UInt8](repeating: 1, count: window.channels)
    let wanted = KernelTwin.split(window, elements, bases: bases)
    for path in KernelPath.runnable {
      let (q, rest) = try NativeKernels.split(path, window, elements, bases: bases)
      #expect(q == wanted.q && rest == wanted.rest)
      let stream = try NativeKernels.encode(
        path, q, classes: classes, frequencies: [flat], tokens: window.tokens)
      // Only the window's tokens are written: the others keep what was there.
      var found = elements
      for place in window.places {
        found.replaceSubrange(place, with: repeatElement(0, count: place.count))
      }
      try NativeKernels.exact(
        path, window, classes: classes, bases: bases, rest: rest, stream, frequencies: [flat],
        into: &found)
      #expect(found == elements)
    }
    var merged = elements
    KernelTwin.merge(
      window, wanted.q, classes: classes, bases: bases, rest: wanted.rest, into: &merged)
    #expect(merged == elements)
  }

  @Test("channels that are not coded are their base, constant rest planes one byte")
  func constantPlanes() throws {
    let window = KernelWindow(type: .f32, heads: 2, dims: 40, tokens: 9)
    var random = KernelRandom(seed: 8)
    let bases = random.bytes(80)
    let classes = (0..<80).map { UInt8($0 % 3 == 0 ? 0 : 1) }
    let flat = [UInt16](repeating: 8, count: 256)
    let coded = classes.count { $0 != 0 }
    let q = (0..<9).flatMap { _ in
      (0..<64).map { $0 < coded ? Int16.random(in: -127...128, using: &random) : 0 }
    }
    let stream = try NativeKernels.encode(
      .automatic, q, classes: classes, frequencies: [flat], tokens: 9)
    let high = random.bytes(720)
    var wanted = [UInt8](repeating: 1, count: 2880)
    KernelTwin.merge(
      window, q, classes: classes, bases: bases,
      rest: [high, [UInt8](repeating: 77, count: 720), [UInt8](repeating: 0, count: 720)],
      into: &wanted)
    for path in KernelPath.runnable {
      var found = [UInt8](repeating: 2, count: 2880)
      try NativeKernels.exact(
        path, window, classes: classes, bases: bases, rest: [high, [77], [0]], stream,
        frequencies: [flat], into: &found)
      #expect(found == wanted)
    }
  }

  @Test("room that is too short, and dims that do not fit, are refused")
  func refusals() throws {
    let window = KernelWindow(type: .bf16, heads: 2, dims: 8, tokens: 4)
    let steps = KernelSteps(
      classes: [UInt8](repeating: 0, count: 16), means: [Int16](repeating: 0, count: 16), step: 1)
    let stream = try NativeKernels.encode(
      .automatic, [], classes: steps.classes, frequencies: frequencies, tokens: 4)
    var short = [UInt8](repeating: 0, count: 127)
    #expect(throws: KernelFault.noRoom) {
      try NativeKernels.uniform(
        .automatic, window, steps, stream, frequencies: frequencies, into: &short)
    }
    var room = [UInt8](repeating: 0, count: 128)
    for (first, dims) in [(0, 3), (0, 10), (7, 2)] {
      var turned = window
      turned.rotation = KernelRotation(
        firstDim: first, dims: dims, cosines: [Float](repeating: 1, count: 20),
        sines: [Float](repeating: 0, count: 20))
      #expect(throws: KernelFault.badArgument) {
        try NativeKernels.uniform(
          .automatic, turned, steps, stream, frequencies: frequencies, into: &room)
      }
    }
  }
}

extension KernelWindow {
  /// Byte ranges of the window's rows, head by head.
  var places: [Range<Int>] {
    (0..<heads).map { head in
      let first = head * headTokens * dims * type.byteCount
      return first..<first + tokens * dims * type.byteCount
    }
  }
}
