internal import CKernels
internal import KDNCore

/// Frequencies of one table of an exact block: 256 x u16, the first of the escape, the others of
/// symbols -127 to 127; they sum to `KDN_SLOTS`.
struct ExactTable: Equatable {
  /// The frequencies.
  let frequencies: [UInt16]

  /// Most tables of a block.
  static let countMax = 4

  private var symbols: Range<Int> {
    let first = frequencies.indices.dropFirst().first { frequencies[$0] > 0 } ?? 1
    let last = frequencies.indices.dropFirst().last { frequencies[$0] > 0 } ?? first
    return first..<last + 1
  }

  /// Bytes that the table takes in a block.
  var byteCount: Int { 6 + 2 * symbols.count }

  /// Appends the table to a block.
  func write(to writer: inout ByteWriter) {
    let symbols = symbols
    writer.put(UInt8(bitPattern: Int8(symbols.lowerBound - 128)))
    writer.put(UInt8(0))
    writer.put(UInt16(symbols.count))
    writer.put(frequencies[0])
    for index in symbols { writer.put(frequencies[index]) }
  }

  /// Takes 256 frequencies that sum to `KDN_SLOTS`; one slot becomes the escape's if it has none,
  /// so that the table codes any symbol.
  init(withEscape frequencies: [UInt16]) {
    precondition(frequencies.count == 256, "one frequency per symbol")
    var frequencies = frequencies
    if frequencies[0] == 0, let most = frequencies.max(),
      let largest = frequencies.firstIndex(of: most)
    {
      frequencies[0] = 1
      frequencies[largest] -= 1
    }
    self.frequencies = frequencies
  }

  /// Takes a table from a block; whether it sums up is for the kernels to check.
  ///
  /// - Throws: a fault that names `tables`, `firstSymbol` or `symbolCount`.
  init(from reader: inout BlockReader) throws(FieldFault) {
    let first = unsafe Int8(bitPattern: try reader.take("firstSymbol", as: UInt8.self))
    guard first >= -127 else {
      throw FieldFault("firstSymbol", value: 128, limit: 127, "below -127")
    }
    guard unsafe try reader.take("tables", as: UInt8.self) == 0 else {
      throw FieldFault("tables", value: 1, limit: 0, "must be zero")
    }
    let count = unsafe Int(try reader.take("symbolCount", as: UInt16.self))
    guard count >= 1, Int(first) + count <= 128 else {
      throw FieldFault("symbolCount", value: count, limit: 128 - Int(first), "not 1 to that")
    }
    var frequencies = [UInt16](repeating: 0, count: 256)
    frequencies[0] = unsafe try reader.take("tables")
    for index in 0..<count {
      frequencies[Int(first) + 128 + index] = unsafe try reader.take("tables")
    }
    self.frequencies = frequencies
  }

  /// Makes the decode tables of a block: that of class 0, then those of `tables`.
  ///
  /// - Throws: a fault that names `tables` if one does not sum up.
  static func makeDecodeTables(
    _ tables: [ExactTable], in room: UnsafeMutableBufferPointer<UInt32>
  ) throws(FieldFault) {
    let slots = Int(KDN_SLOTS)
    precondition(room.count >= (tables.count + 1) * slots, "room for all tables")
    unsafe kdn_padding_tables(room.baseAddress, nil)
    for (index, table) in tables.enumerated() {
      let result = unsafe kdn_decode_table(
        table.frequencies, room.baseAddress.map { unsafe $0 + (index + 1) * slots })
      try Kernel.check(result, "tables")
    }
  }

  /// Encode tables of a block, as `decodeTables`.
  static func encodeTables(_ tables: [ExactTable]) throws(FieldFault) -> [UInt64] {
    var made = [UInt64](repeating: 0, count: (tables.count + 1) * 256)
    unsafe kdn_padding_tables(nil, &made)
    for (index, table) in tables.enumerated() {
      let result = unsafe made.withUnsafeMutableBufferPointer { room in
        unsafe kdn_encode_table(
          table.frequencies, room.baseAddress.map { unsafe $0 + (index + 1) * 256 })
      }
      try Kernel.check(result, "tables")
    }
    return made
  }
}
