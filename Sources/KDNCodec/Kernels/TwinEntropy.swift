extension KernelTwin {
  /// Symbols of one class and their slots.
  package struct Table: Sendable {
    /// Frequency of symbol i - 128.
    let frequencies: [UInt32]
    /// First slot of symbol i - 128.
    let starts: [UInt32]
    /// Symbol index of each slot.
    let symbols: [UInt8]

    /// Creates a table.
    ///
    /// - Throws: `badTable` if the 256 frequencies do not sum to 2048.
    package init(frequencies: [UInt16]) throws(KernelFault) {
      let sum = frequencies.reduce(0) { $0 + Int($1) }
      guard frequencies.count == 256, sum == slots else { throw .badTable }
      self.frequencies = frequencies.map { UInt32($0) }
      var starts: [UInt32] = []
      var symbols: [UInt8] = []
      for (index, frequency) in frequencies.enumerated() {
        starts.append(UInt32(symbols.count))
        symbols += [UInt8](repeating: UInt8(index), count: Int(frequency))
      }
      self.starts = starts
      self.symbols = symbols
    }

    /// The table of padding lanes: one symbol, 0, that takes no bits.
    static let padding: Table? = {
      var frequencies = [UInt16](repeating: 0, count: 256)
      frequencies[128] = UInt16(slots)
      return try? Table(frequencies: frequencies)
    }()
  }

  static let slots = 2048
  private static let slotBits: UInt32 = 11
  private static let lanes = 32
  private static let lowerBound: UInt32 = 1 << 16

  /// The tables of each block of 32 lanes, padding included.
  private static func blocks(
    _ classes: [UInt8], _ tables: [Table]
  ) throws(KernelFault) -> [[Table]] {
    guard let padding = Table.padding else { throw .badTable }
    guard classes.allSatisfy({ Int($0) <= tables.count }) else { throw .badArgument }
    let coded = classes.filter { $0 != 0 }.map { tables[Int($0) - 1] }
    return stride(from: 0, to: coded.count, by: lanes).map { first in
      let block = Array(coded[first..<min(first + lanes, coded.count)])
      return block + [Table](repeating: padding, count: lanes - block.count)
    }
  }

  /// Decodes a matrix `[token][stride]`; table k - 1 is of class k.
  ///
  /// - Throws: what a kernel throws.
  package static func decode(
    _ stream: KernelStream, classes: [UInt8], tables: [Table], tokens: Int
  ) throws(KernelFault) -> [Int16] {
    let blocks = try blocks(classes, tables)
    guard stream.bytes.count >= 4 * lanes, stream.bytes.count % 2 == 0 else { throw .truncated }
    var states = (0..<lanes).map { lane in
      word(stream.bytes, 4 * lane) | word(stream.bytes, 4 * lane + 2) << 16
    }
    guard states.allSatisfy({ $0 >= lowerBound }) else { throw .badState }
    let width = blocks.count * lanes
    var q = [Int16](repeating: 0, count: width * tokens)
    var next = 4 * lanes
    var nextEscape = 0
    for (block, tables) in blocks.enumerated() {
      for token in 0..<tokens {
        for lane in 0..<lanes {
          let table = tables[lane]
          let slot = states[lane] % UInt32(slots)
          let symbol = Int(table.symbols[Int(slot)])
          var x = table.frequencies[symbol] * (states[lane] >> slotBits)
          x += slot - table.starts[symbol]
          if x < lowerBound {
            guard next < stream.bytes.count else { throw .truncated }
            x = x << 16 | word(stream.bytes, next)
            next += 2
          }
          states[lane] = x
          var value = Int16(symbol) - 128
          if symbol == 0 {
            guard nextEscape < stream.escapes.count else { throw .badEscape }
            value = Int16(truncatingIfNeeded: word(stream.escapes, nextEscape))
            nextEscape += 2
          }
          q[token * width + block * lanes + lane] = value
        }
      }
    }
    guard states.allSatisfy({ $0 == lowerBound }) else { throw .badState }
    guard next == stream.bytes.count, nextEscape == stream.escapes.count else { throw .trailing }
    return q
  }

  /// Encodes a matrix `[token][stride]`.
  ///
  /// - Throws: what a kernel throws.
  package static func encode(
    _ q: [Int16], classes: [UInt8], tables: [Table], tokens: Int
  ) throws(KernelFault) -> KernelStream {
    let blocks = try blocks(classes, tables)
    let width = blocks.count * lanes
    guard q.count >= width * tokens else { throw .noRoom }
    var states = [UInt32](repeating: lowerBound, count: lanes)
    var words: [UInt16] = []
    var escapes: [Int16] = []
    for (block, tables) in blocks.enumerated().reversed() {
      for token in (0..<tokens).reversed() {
        for lane in (0..<lanes).reversed() {
          let table = tables[lane]
          let value = q[token * width + block * lanes + lane]
          var symbol = (-127...127).contains(value) ? Int(value) + 128 : 0
          if table.frequencies[symbol] == 0 { symbol = 0 }
          if symbol == 0 { escapes.append(value) }
          let frequency = table.frequencies[symbol]
          guard frequency > 0 else { throw .badTable }
          if states[lane] >> (32 - slotBits) >= frequency {
            words.append(UInt16(truncatingIfNeeded: states[lane]))
            states[lane] >>= 16
          }
          let (quotient, rest) = states[lane].quotientAndRemainder(dividingBy: frequency)
          states[lane] = quotient << slotBits + rest + table.starts[symbol]
        }
      }
    }
    var bytes = states.flatMap { state in
      [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: state >> $0) }
    }
    bytes += words.reversed().flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
    let escaped = escapes.reversed().flatMap { value in
      [UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8)]
    }
    return KernelStream(bytes: bytes, escapes: escaped)
  }

  private static func word(_ bytes: [UInt8], _ at: Int) -> UInt32 {
    UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8
  }
}
