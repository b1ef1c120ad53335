internal import CKernels
internal import KDNCore

extension NativeKernels {
  /// Elements to rows `[token][channel]`, rotated back.
  ///
  /// - Throws: `outOfRange` if an element is not finite.
  package static func load(
    _ path: KernelPath, _ window: KernelWindow, _ elements: [UInt8]
  ) throws(KernelFault) -> [Float] {
    let count = window.channels * window.tokens
    var rows = [Float](repeating: 0, count: count)
    try unsafe withPlane(window) { plane, _ in
      unsafe kdn_load(
        path.rawValue, plane, elements, UInt64(elements.count), &rows, UInt64(window.channels),
        UInt64(count))
    }
    return rows
  }

  /// Rows rotated, rounded and put into `room` in canonical order.
  ///
  /// - Throws: what `kdn_store` says.
  package static func store(
    _ path: KernelPath, _ window: KernelWindow, _ rows: [Float], into room: inout [UInt8]
  ) throws(KernelFault) {
    try unsafe withPlane(window) {
      unsafe kdn_store(
        path.rawValue, $0, rows, UInt64(window.channels), UInt64(rows.count), &$1,
        UInt64($1.count), &room, UInt64(room.count))
    }
  }

  /// Dense rows of symbols, padded to 32, and the rest planes in canonical order.
  ///
  /// - Throws: what `kdn_exact_split` says.
  package static func split(
    _ path: KernelPath, _ window: KernelWindow, _ elements: [UInt8], bases: [UInt8]
  ) throws(KernelFault) -> (q: [Int16], rest: [[UInt8]]) {
    let count = window.channels * window.tokens
    let planes = Int(kdn_raw_planes(Int32(window.type.rawValue)))
    var q = [Int16](repeating: 0, count: (window.channels + 31) / 32 * 32 * window.tokens)
    var raw = [UInt8](repeating: 0, count: count * planes)
    guard bases.count == window.channels else { throw .badArgument }
    try unsafe withPlane(window) { plane, _ in
      unsafe kdn_exact_split(
        path.rawValue, plane, elements, UInt64(elements.count), bases, &q, UInt64(q.count), &raw,
        UInt64(raw.count))
    }
    return (q, (0..<planes).map { Array(raw[$0 * count..<($0 + 1) * count]) })
  }

  /// Decodes an exact block's stream and joins it with the rest planes, into `room`; a rest plane
  /// of one byte stands for one of that byte throughout.
  ///
  /// - Throws: what `kdn_exact_decode` says of a malformed stream.
  package static func exact(
    _ path: KernelPath, _ window: KernelWindow, classes: [UInt8], bases: [UInt8],
    rest: [[UInt8]], _ stream: KernelStream, frequencies: [[UInt16]], into room: inout [UInt8]
  ) throws(KernelFault) {
    let tables = try decodeTables(frequencies)
    let count = window.channels * window.tokens
    guard bases.count == window.channels, classes.count == window.channels,
      rest.count == Int(kdn_raw_planes(Int32(window.type.rawValue))),
      rest.allSatisfy({ $0.count == count || $0.count == 1 })
    else { throw .badArgument }
    let whole = rest.flatMap { $0.count == count ? $0 : [] }
    var constants = rest.map { $0.count == count ? 0 : $0[0] }
    constants += [UInt8](repeating: 0, count: 3 - constants.count)
    try unsafe withPlane(window) { plane, scratch in
      unsafe whole.withUnsafeBufferPointer { bytes in
        var planes = unsafe [UnsafePointer<UInt8>?](repeating: nil, count: 3)
        var next = 0
        for (index, row) in rest.enumerated() where row.count == count {
          unsafe planes[index] = unsafe bytes.baseAddress.map { unsafe $0 + next }
          next += count
        }
        return unsafe kdn_exact_decode(
          path.rawValue, tables, UInt32(frequencies.count + 1), plane, classes, bases, planes,
          constants, stream.bytes, UInt64(stream.bytes.count), stream.escapes,
          UInt64(stream.escapes.count / 2), &scratch, UInt64(scratch.count), &room,
          UInt64(room.count))
      }
    }
  }
}
