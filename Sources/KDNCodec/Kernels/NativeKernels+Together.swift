internal import CKernels

extension NativeKernels {
  /// A stream that is decoded beside others.
  package struct CodedMatrix: Sendable {
    /// States and words, and escapes.
    package var stream: KernelStream
    /// One class per column, 0: not coded.
    package var classes: [UInt8]

    /// Creates a coded matrix.
    package init(_ stream: KernelStream, classes: [UInt8]) {
      self.stream = stream
      self.classes = classes
    }
  }

  /// Decodes one to `KDN_STREAMS` matrices of as many tokens together; nil for one that is refused.
  ///
  /// - Throws: `badTable`, or `badArgument` for more.
  package static func decode(
    _ path: KernelPath, together matrices: [CodedMatrix], frequencies: [[UInt16]], tokens: Int
  ) throws(KernelFault) -> [[Int16]?] {
    guard (1...Int(KDN_STREAMS)).contains(matrices.count) else { throw .badArgument }
    let tables = try decodeTables(frequencies)
    let room = WorkingRoom()
    var results = [Int32](repeating: 0, count: matrices.count)
    return unsafe tables.withUnsafeBufferPointer { tables in
      unsafe withStreams(matrices[...], tables, tokens: tokens, room, []) { streams in
        _ = unsafe kdn_rans_decode_streams(
          path.rawValue, streams, UInt64(streams.count), UInt64(tokens), &results)
        return unsafe streams.indices.map { index in
          guard results[index] == KDN_OK else { return nil }
          return unsafe Array(
            UnsafeBufferPointer(start: streams[index].q, count: Int(streams[index].q_count)))
        }
      }
    }
  }

  /// Runs `body` with the streams of all matrices behind `found`.
  private static func withStreams<Result>(
    _ matrices: ArraySlice<CodedMatrix>, _ tables: UnsafeBufferPointer<UInt32>, tokens: Int,
    _ room: WorkingRoom, _ found: [kdn_stream], _ body: ([kdn_stream]) -> Result
  ) -> Result {
    guard let first = matrices.first else { return unsafe body(found) }
    let index = unsafe found.count
    return unsafe first.classes.withUnsafeBytes { classes in
      unsafe first.stream.bytes.withUnsafeBytes { words in
        unsafe first.stream.escapes.withUnsafeBytes { escapes in
          let stride = unsafe Int(kdn_stride(bytes(classes), UInt64(classes.count)))
          let q = unsafe room.take(.coefficients(index), Int16.self, count: tokens * stride)
          let stream = unsafe kdn_stream(
            tables: tables.baseAddress, table_count: UInt32(tables.count / Int(KDN_SLOTS)),
            classes: bytes(classes), count: UInt64(classes.count), stream: bytes(words),
            stream_bytes: UInt64(words.count), escapes: bytes(escapes),
            escape_count: UInt64(escapes.count / 2), q: q.baseAddress, q_count: UInt64(q.count))
          return unsafe withStreams(
            matrices.dropFirst(), tables, tokens: tokens, room, found + [stream], body)
        }
      }
    }
  }
}
