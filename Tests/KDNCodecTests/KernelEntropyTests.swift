import KDNCodec
import KDNCore
import Testing

@Suite("rANS kernels")
struct KernelEntropyTests {
  static let sizes = [(1, 1), (1, 40), (33, 1), (32, 7), (33, 50), (100, 19), (5, 4096), (0, 3)]
  let frequencies = NativeKernels.classFrequencies

  private func matrices(seed: UInt64) -> [(KernelMatrix, tokens: Int)] {
    var random = KernelRandom(seed: seed)
    return KernelMatrix.Kind.allCases.flatMap { kind in
      Self.sizes.map { count, tokens in
        (KernelMatrix(kind, count: count, tokens: tokens, random: &random), tokens)
      }
    }
  }

  @Test("static classes have 2048 slots, one of them at least for an escape and for -2...2")
  func staticClasses() {
    #expect(frequencies.count == 69)
    for row in frequencies {
      #expect(row.reduce(0) { $0 + Int($1) } == 2048)
      #expect(row[0] >= 1 && row[126...130].allSatisfy { $0 >= 1 })
    }
  }

  @Test("each path encodes to the bytes of the Swift twin", arguments: KernelPath.runnable)
  func encoding(path: KernelPath) throws {
    let tables = try KernelTwin.tables(frequencies)
    for (matrix, tokens) in matrices(seed: 1) {
      let wanted = try KernelTwin.encode(
        matrix.q, classes: matrix.classes, tables: tables, tokens: tokens)
      let found = try NativeKernels.encode(
        path, matrix.q, classes: matrix.classes, frequencies: frequencies, tokens: tokens)
      #expect(found == wanted)
    }
  }

  @Test("each path and the twin decode what was encoded", arguments: KernelPath.runnable)
  func decoding(path: KernelPath) throws {
    let tables = try KernelTwin.tables(frequencies)
    for (matrix, tokens) in matrices(seed: 2) {
      let stream = try NativeKernels.encode(
        .automatic, matrix.q, classes: matrix.classes, frequencies: frequencies, tokens: tokens)
      let found = try NativeKernels.decode(
        path, stream, classes: matrix.classes, frequencies: frequencies, tokens: tokens)
      #expect(found == matrix.q)
      let twin = try KernelTwin.decode(
        stream, classes: matrix.classes, tables: tables, tokens: tokens)
      #expect(twin == matrix.q)
    }
  }

  @Test("a stream cut at any byte is refused", arguments: KernelPath.runnable)
  func truncation(path: KernelPath) throws {
    var random = KernelRandom(seed: 3)
    let matrix = KernelMatrix(.usual, count: 40, tokens: 8, random: &random)
    let stream = try NativeKernels.encode(
      path, matrix.q, classes: matrix.classes, frequencies: frequencies, tokens: 8)
    for count in 0..<stream.bytes.count {
      var cut = stream
      cut.bytes.removeLast(stream.bytes.count - count)
      #expect(throws: KernelFault.self) {
        try NativeKernels.decode(
          path, cut, classes: matrix.classes, frequencies: frequencies, tokens: 8)
      }
    }
  }

  @Test("what is left over or missing is named", arguments: KernelPath.runnable)
  func faults(path: KernelPath) throws {
    var random = KernelRandom(seed: 4)
    let matrix = KernelMatrix(.escapesEverywhere, count: 40, tokens: 8, random: &random)
    let stream = try NativeKernels.encode(
      path, matrix.q, classes: matrix.classes, frequencies: frequencies, tokens: 8)
    func fault(_ change: (inout KernelStream) -> Void) -> KernelFault? {
      var changed = stream
      change(&changed)
      do {
        _ = try NativeKernels.decode(
          path, changed, classes: matrix.classes, frequencies: frequencies, tokens: 8)
        return nil
      } catch {
        return error
      }
    }
    #expect(fault { _ in } == nil)
    #expect(fault { $0.bytes += [1, 2] } == .trailing)
    #expect(fault { $0.escapes += [1, 2] } == .trailing)
    #expect(fault { $0.escapes.removeLast(2) } == .badEscape)
    #expect(fault { $0.bytes.replaceSubrange(2..<4, with: [0, 0]) } == .badState)
    #expect(fault { $0.bytes.removeLast(2) } == .truncated)
    #expect(fault { $0.bytes.removeLast() } == .truncated)
  }

  @Test("damaged streams are refused alike, or decode to the same symbols")
  func damage() throws {
    let tables = try KernelTwin.tables(frequencies)
    var random = KernelRandom(seed: 5)
    for round in 0..<400 {
      let matrix = KernelMatrix(
        KernelMatrix.Kind.allCases[round % 4], count: 1 + round % 70, tokens: 1 + round % 23,
        random: &random)
      let tokens = 1 + round % 23
      var stream = try NativeKernels.encode(
        .automatic, matrix.q, classes: matrix.classes, frequencies: frequencies, tokens: tokens)
      for _ in 0...round % 3 {
        let place = Int.random(in: 0..<stream.bytes.count, using: &random)
        stream.bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      }
      if round % 5 == 0 { stream.bytes = random.bytes(stream.bytes.count) }
      let wanted = try? KernelTwin.decode(
        stream, classes: matrix.classes, tables: tables, tokens: tokens)
      for path in KernelPath.runnable {
        let found = try? NativeKernels.decode(
          path, stream, classes: matrix.classes, frequencies: frequencies, tokens: tokens)
        #expect(found == wanted)
      }
    }
  }

  @Test("too little room for the stream is refused", arguments: KernelPath.runnable)
  func room(path: KernelPath) throws {
    var random = KernelRandom(seed: 6)
    let matrix = KernelMatrix(.usual, count: 64, tokens: 30, random: &random)
    let needed = try NativeKernels.encode(
      path, matrix.q, classes: matrix.classes, frequencies: frequencies, tokens: 30
    ).bytes.count
    for capacity in stride(from: 0, to: needed, by: 7) {
      #expect(throws: KernelFault.noRoom) {
        try NativeKernels.encode(
          path, matrix.q, classes: matrix.classes, frequencies: frequencies, tokens: 30,
          capacity: capacity)
      }
    }
  }

  @Test("tables of any frequencies code and decode, a lone symbol takes no bits")
  func ownTables() throws {
    var lone = [UInt16](repeating: 0, count: 256)
    lone[131] = 2048
    var two = [UInt16](repeating: 0, count: 256)
    two[0] = 2047
    two[255] = 1
    let classes: [UInt8] = [1, 2, 1]
    let q: [Int16] = (0..<20).flatMap { token -> [Int16] in
      [3, token % 9 == 0 ? 127 : -700, 3] + [Int16](repeating: 0, count: 29)
    }
    for path in KernelPath.runnable {
      let stream = try NativeKernels.encode(
        path, q, classes: classes, frequencies: [lone, two], tokens: 20)
      #expect(stream.escapes.count == 2 * 17)
      let found = try NativeKernels.decode(
        path, stream, classes: classes, frequencies: [lone, two], tokens: 20)
      #expect(found == q)
      #expect(throws: KernelFault.badTable) {
        try NativeKernels.encode(
          path, q.map { $0 + 1 }, classes: classes, frequencies: [lone, two], tokens: 20)
      }
      #expect(throws: KernelFault.badTable) {
        try NativeKernels.decode(
          path, stream, classes: classes, frequencies: [lone, lone.map { $0 / 2 }], tokens: 20)
      }
      #expect(throws: KernelFault.badArgument) {
        try NativeKernels.decode(
          path, stream, classes: [1, 2, 3], frequencies: [lone, two], tokens: 20)
      }
    }
  }
}
