internal import CKernels
internal import KDNCore

/// A block that gives the stored bytes bit for bit: see `Codecs`, section Exact block.
@safe struct ExactBlock {
  static let headerBytes = 16

  private let bases: UnsafeRawBufferPointer
  private let classes: UnsafeRawBufferPointer
  private let tables: UnsafePointer<UInt32>
  private let tableCount: UInt32
  private let raw: RawPlanes
  private let coded: CodedStreamView

  /// Reads the fields of a block; its decode tables are made in memory of `room` for stream
  /// `index`.
  ///
  /// - Throws: a fault that names the field at fault.
  init(
    _ job: PlaneJob, _ index: Int, _ shape: PartShape, _ room: WorkingRoom
  ) throws(FieldFault) {
    let plane = unsafe job.plane
    var reader = unsafe BlockReader(job.bytes)
    let words: UInt32 = unsafe try reader.take("wordCount")
    let escapes: UInt32 = unsafe try reader.take("escapeCount")
    let tableCount = unsafe Int(try reader.take("tableCount", as: UInt8.self))
    guard tableCount <= ExactTable.countMax else {
      throw FieldFault("tableCount", value: tableCount, limit: ExactTable.countMax, "too many")
    }
    let rawPlanes = Int(kdn_raw_planes(Int32(shape.elementType.rawValue)))
    let told: UInt8 = unsafe try reader.take("rawPlanes")
    guard Int(told) == rawPlanes else {
      throw FieldFault("rawPlanes", value: Int(told), limit: rawPlanes, "not the type's")
    }
    let mask: UInt8 = unsafe try reader.take("constantMask")
    guard Int(mask) >> rawPlanes == 0 else {
      throw FieldFault("constantMask", value: Int(mask), limit: rawPlanes, "names no plane")
    }
    guard unsafe try reader.take("reserved", as: UInt8.self) == 0,
      unsafe try reader.take("reserved", as: UInt32.self) == 0
    else { throw FieldFault("reserved", value: 1, limit: 0, "must be zero") }
    unsafe bases = try reader.take("bases", count: plane.channels)
    unsafe try reader.pad()
    unsafe classes = try reader.take("classes", count: plane.channels)
    let largest = unsafe classes.max() ?? 0
    guard Int(largest) <= tableCount else {
      throw FieldFault("classes", value: Int(largest), limit: tableCount, "no such table")
    }
    unsafe try reader.pad()
    var tables: [ExactTable] = []
    for _ in 0..<tableCount { tables.append(unsafe try ExactTable(from: &reader)) }
    unsafe try reader.pad()
    unsafe raw = try RawPlanes(
      from: &reader, count: rawPlanes, constantMask: mask,
      byteCount: plane.channels * shape.tokenCount)
    unsafe coded = try CodedStreamView(from: &reader, words: words, escapes: escapes)
    let made = unsafe room.take(
      .tables(index), UInt32.self, count: (tableCount + 1) * Int(KDN_SLOTS))
    unsafe try ExactTable.makeDecodeTables(tables, in: made)
    guard let address = made.baseAddress else {
      preconditionFailure("there is a table at least")
    }
    unsafe self.tables = UnsafePointer(address)
    self.tableCount = UInt32(tableCount + 1)
  }

  /// The block's stream; its symbols go to memory of `room` for stream `index`.
  func stream(_ index: Int, tokens: Int, _ room: WorkingRoom) -> kdn_stream {
    unsafe coded.stream(
      index, classes, tokens: tokens, tables: tables, tableCount: tableCount, room)
  }

  /// Joins the decoded symbols `q` with the rest planes.
  ///
  /// - Throws: a fault that names `exact`.
  func finish(
    _ job: PlaneJob, _ q: UnsafeMutableBufferPointer<Int16>, _ shape: PartShape,
    _ room: WorkingRoom
  ) throws(FieldFault) {
    let target = unsafe job.target
    unsafe try job.plane.withKernelPlane(shape.elementType, tokens: shape.tokenCount) {
      plane throws(FieldFault) in
      let scratch = unsafe room.take(.scratch, byteCount: Int(kdn_row_scratch_bytes(plane)))
      let result = unsafe Self.withUnsafePointers(raw) { planes, constants in
        unsafe kdn_exact_merge(
          Kernel.path, plane, bytes(classes), bytes(bases), planes, constants, q.baseAddress,
          UInt64(q.count), scratch.baseAddress, UInt64(scratch.count), target.baseAddress,
          UInt64(target.count))
      }
      try Kernel.check(result, "exact")
    }
  }

  private static func withUnsafePointers(
    _ raw: RawPlanes,
    _ body: (UnsafePointer<UnsafePointer<UInt8>?>?, UnsafePointer<UInt8>?) -> Int32
  ) -> Int32 {
    unsafe raw.planes.withUnsafeBufferPointer { planes in
      unsafe raw.constants.withUnsafeBufferPointer { constants in
        unsafe body(planes.baseAddress, constants.baseAddress)
      }
    }
  }
}

/// The planes of an exact block that are not coded.
@unsafe private struct RawPlanes {
  /// Three: where each plane lies, nil for one that is the same byte throughout or not there.
  let planes: [UnsafePointer<UInt8>?]
  /// Three: the byte of each plane that is the same throughout.
  let constants: [UInt8]

  init(
    from reader: inout BlockReader, count: Int, constantMask: UInt8, byteCount: Int
  ) throws(FieldFault) {
    var planes: [UnsafePointer<UInt8>?] = unsafe [nil, nil, nil]
    var constants: [UInt8] = [0, 0, 0]
    for plane in 0..<count {
      if constantMask >> plane & 1 == 1 {
        constants[plane] = unsafe try reader.take("rawPlane")
      } else {
        unsafe planes[plane] = bytes(try reader.take("rawPlane", count: byteCount))
      }
    }
    unsafe try reader.pad()
    unsafe self.planes = planes
    unsafe self.constants = constants
  }
}

/// The address of the first of `buffer`'s bytes.
func bytes(_ buffer: UnsafeRawBufferPointer) -> UnsafePointer<UInt8>? {
  unsafe buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
}

/// Memory for the time of one call, aligned for the widest registers.
@safe struct ScratchRoom: ~Copyable {
  let address: UnsafeMutableRawPointer
  let byteCount: UInt64

  /// Takes `byteCount` bytes, what is in them undefined.
  init(byteCount: UInt64) {
    self.byteCount = byteCount
    unsafe address = .allocate(byteCount: Int(byteCount), alignment: 64)
  }

  deinit { unsafe address.deallocate() }
}
