internal import CKernels

extension NativeKernels {
  /// Classes of channels and the frequencies of the tables that they share.
  package struct SharedTables: Sendable {
    /// One class per channel, 0: all symbols are zero.
    package let classes: [UInt8]
    /// 256 frequencies for each class from 1 on.
    package let frequencies: [[UInt16]]
  }

  /// Tables for dense rows `[token][channel]` padded to 32, at most `tables` of 4.
  ///
  /// - Throws: what `kdn_exact_tables` says.
  package static func sharedTables(
    _ q: [Int16], channels: Int, tokens: Int, tables: Int
  ) throws(KernelFault) -> SharedTables {
    let stride = (channels + 31) / 32 * 32
    var counts = [UInt32](repeating: 0, count: 256 * channels)
    try KernelFault.check(
      unsafe kdn_histograms(
        UInt64(channels), UInt64(tokens), UInt64(stride), q, UInt64(q.count), &counts))
    var classes = [UInt8](repeating: 0, count: channels)
    var frequencies = [UInt16](repeating: 0, count: 256 * Int(KDN_EXACT_TABLES))
    var scratch = [UInt32](repeating: 0, count: 2 * channels)
    var tableCount: UInt32 = 0
    try KernelFault.check(
      unsafe kdn_exact_tables(
        counts, UInt64(channels), UInt32(tables), &classes, &frequencies, &tableCount, &scratch))
    let rows = (0..<Int(tableCount)).map { Array(frequencies[256 * $0..<256 * ($0 + 1)]) }
    return SharedTables(classes: classes, frequencies: rows)
  }

  /// Static classes of dense rows: by their mean squares, or by the bits they take.
  ///
  /// - Throws: what `kdn_estimate_classes` and `kdn_choose_classes` say.
  package static func staticClasses(
    _ path: KernelPath, _ q: [Int16], channels: Int, tokens: Int, exactly: Bool
  ) throws(KernelFault) -> [UInt8] {
    let stride = UInt64((channels + 31) / 32 * 32)
    var classes = [UInt8](repeating: 0, count: channels)
    guard !exactly else {
      var costs = [UInt16](repeating: 0, count: 256 * (Int(KDN_CLASSES) + 1))
      try KernelFault.check(unsafe kdn_static_tables(nil, nil, &costs))
      try KernelFault.check(
        unsafe kdn_choose_classes(
          costs, 1, UInt32(KDN_CLASSES), nil, UInt64(channels), UInt64(tokens), stride, q,
          UInt64(q.count), &classes, nil))
      return classes
    }
    var moments = [Float](repeating: 0, count: Int(KDN_CLASSES) + 1)
    try KernelFault.check(unsafe kdn_static_moments(&moments))
    try KernelFault.check(
      unsafe kdn_estimate_classes(
        path.rawValue, moments, UInt64(channels), UInt64(tokens), stride, q, UInt64(q.count),
        &classes))
    return classes
  }

  /// Dense rows with the columns of class 0 left out, padded to 32.
  ///
  /// - Throws: what `kdn_compact` says.
  package static func compact(
    _ q: [Int16], classes: [UInt8], tokens: Int
  ) throws(KernelFault) -> [Int16] {
    var rows = q
    let stride = (classes.count + 31) / 32 * 32
    try KernelFault.check(
      unsafe kdn_compact(
        classes, UInt64(classes.count), UInt64(tokens), UInt64(stride), &rows,
        UInt64(rows.count)))
    return Array(rows.prefix(Int(unsafe kdn_stride(classes, UInt64(classes.count))) * tokens))
  }
}
