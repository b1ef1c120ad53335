internal import CKernels
internal import KDNCore

/// An entropy-coded stream as it stands at the end of a block: escapes, states and words; in memory
/// of the room that it was made in.
@unsafe struct CodedStream {
  /// First states, then words.
  let stream: UnsafeRawBufferPointer
  /// Values of the escapes, two bytes each.
  let escapes: UnsafeRawBufferPointer

  /// Words of the stream.
  var wordCount: Int { unsafe (stream.count - Int(KDN_STATE_BYTES)) / 2 }
  /// How many escapes.
  var escapeCount: Int { unsafe escapes.count / 2 }
  /// Bytes of both.
  var byteCount: Int { unsafe stream.count + escapes.count }

  /// Codes the columns of dense rows whose class is not 0; `q` is overwritten.
  ///
  /// - Throws: a fault that names `q` or `words` if a value cannot be coded.
  init(
    compacting q: UnsafeMutableBufferPointer<Int16>, classes: [UInt8], tokens: Int, stride: Int,
    tables: UnsafePointer<UInt64>, tableCount: UInt32, _ room: WorkingRoom
  ) throws(FieldFault) {
    let count = UInt64(classes.count)
    let values = tokens * Int(unsafe kdn_stride(classes, count))
    var streamBytes: UInt64 = 0
    var escapeCount: UInt64 = 0
    let stream = unsafe room.take(
      .stream, UInt8.self, count: Int(KDN_STATE_BYTES) + 2 * values + 64)
    let escapes = unsafe room.take(.escapes, UInt8.self, count: 2 * values)
    try Kernel.check(
      unsafe kdn_compact(
        classes, count, UInt64(tokens), UInt64(stride), q.baseAddress, UInt64(q.count)), "q")
    try Kernel.check(
      unsafe kdn_rans_encode(
        Kernel.path, tables, tableCount, classes, count, UInt64(tokens), q.baseAddress,
        UInt64(values), stream.baseAddress, UInt64(stream.count), &streamBytes,
        escapes.baseAddress, UInt64(escapes.count), &escapeCount), "words")
    unsafe self.stream = UnsafeRawBufferPointer(
      rebasing: UnsafeRawBufferPointer(stream)[..<Int(streamBytes)])
    unsafe self.escapes = UnsafeRawBufferPointer(
      rebasing: UnsafeRawBufferPointer(escapes)[..<(2 * Int(escapeCount))])
  }

  /// Appends escapes, padding, states and words.
  func write(to writer: inout ByteWriter) {
    unsafe writer.put(contentsOf: escapes)
    writer.pad()
    unsafe writer.put(contentsOf: stream)
  }
}

/// Where a block's escapes, states and words lie.
@unsafe struct CodedStreamView {
  let escapes: UnsafeRawBufferPointer
  let stream: UnsafeRawBufferPointer
  let escapeCount: Int

  /// Takes what `CodedStream.write` wrote, to the end of the block.
  ///
  /// - Throws: a fault that names `escapes`, `words` or `padding`.
  init(
    from reader: inout BlockReader, words: UInt32, escapes count: UInt32
  ) throws(FieldFault) {
    unsafe escapeCount = Int(count)
    unsafe escapes = try reader.take("escapes", count: 2 * Int(count))
    unsafe try reader.pad()
    unsafe stream = try reader.take("words", count: Int(KDN_STATE_BYTES) + 2 * Int(words))
    unsafe try reader.finish()
  }

  /// The stream for the kernels; its symbols go to memory of `room` for stream `index`.
  func stream(
    _ index: Int, _ classes: UnsafeRawBufferPointer, tokens: Int,
    tables: UnsafePointer<UInt32>, tableCount: UInt32, _ room: WorkingRoom
  ) -> kdn_stream {
    let stride = unsafe Int(kdn_stride(bytes(classes), UInt64(classes.count)))
    let q = unsafe room.take(.coefficients(index), Int16.self, count: tokens * stride)
    return unsafe kdn_stream(
      tables: tables, table_count: tableCount, classes: bytes(classes),
      count: UInt64(classes.count), stream: bytes(stream), stream_bytes: UInt64(stream.count),
      escapes: bytes(escapes), escape_count: UInt64(escapeCount), q: q.baseAddress,
      q_count: UInt64(q.count))
  }
}

/// Answers of the kernels as faults.
enum Kernel {
  /// The path that the processor runs best.
  static let path = Int32(KDN_AUTO)

  /// Throws a fault that names `field` unless `result` says that all went well.
  static func check(_ result: Int32, _ field: String) throws(FieldFault) {
    guard result != KDN_OK else { return }
    let problem =
      switch result {
      case Int32(KDN_TRUNCATED): "the coded words end before the last symbol"
      case Int32(KDN_TRAILING): "coded words or escapes are left over"
      case Int32(KDN_BAD_STATE): "a coder's state is not one that an encoder leaves"
      case Int32(KDN_BAD_ESCAPE): "more escapes are coded than there are"
      case Int32(KDN_BAD_TABLE): "frequencies are no table"
      case Int32(KDN_OUT_OF_RANGE): "a value is not finite or too large"
      case Int32(KDN_NO_ROOM): "no room for the result"
      default: "a count, class or length is outside its limits"
      }
    throw FieldFault(field, value: UInt64(-Int64(result)), limit: 0, problem)
  }
}

/// Tables of the static classes, made once and never freed.
// Safe because: nothing writes to the memory once the tables are made.
@safe struct StaticTables: @unchecked Sendable {
  static let shared = StaticTables()

  /// 2048 entries for each class, class 0 first.
  let decode: UnsafePointer<UInt32>
  /// 256 entries for each class.
  let encode: UnsafePointer<UInt64>
  /// Bounds between the second moments of the classes.
  let moments: UnsafePointer<Float>

  /// How many tables.
  var count: UInt32 { UInt32(KDN_CLASSES) + 1 }

  private init() {
    let tables = Int(KDN_CLASSES) + 1
    let decode = UnsafeMutablePointer<UInt32>.allocate(capacity: tables * Int(KDN_SLOTS))
    let encode = UnsafeMutablePointer<UInt64>.allocate(capacity: tables * 256)
    let moments = UnsafeMutablePointer<Float>.allocate(capacity: tables)
    let result = unsafe kdn_static_tables(decode, encode, nil)
    precondition(result == KDN_OK, "the static tables are sound")
    let bounds = unsafe kdn_static_moments(moments)
    precondition(bounds == KDN_OK, "the static tables have moments")
    unsafe self.decode = UnsafePointer(decode)
    unsafe self.encode = UnsafePointer(encode)
    unsafe self.moments = UnsafePointer(moments)
  }
}
