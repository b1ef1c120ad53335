internal import CKernels
internal import Glibc
internal import KDNCore

extension ExactBlock {
  /// Encodes one plane; nil if that would not be shorter, or cannot be done.
  static func encode(
    _ raw: UnsafeRawBufferPointer, _ plane: PlaneShape, _ shape: PartShape, _ room: WorkingRoom
  ) throws(FieldFault) -> [UInt8]? {
    let tokens = shape.tokenCount
    let channels = plane.channels
    let dense = (channels + Int(KDN_LANES) - 1) / Int(KDN_LANES) * Int(KDN_LANES)
    let planeBytes = channels * tokens
    let rawPlanes = Int(kdn_raw_planes(Int32(shape.elementType.rawValue)))
    guard headerBytes + 2 * channels + Int(KDN_STATE_BYTES) < raw.count else { return nil }
    var bases = [UInt8](repeating: 0, count: channels)
    let q = unsafe room.take(.symbols, Int16.self, count: dense * tokens)
    let rest = unsafe room.take(.rest, UInt8.self, count: rawPlanes * planeBytes)
    if shape.elementType == .i8 { bases = unsafe signedMeans(raw, plane, tokens: tokens) }
    unsafe try plane.withKernelPlane(shape.elementType, tokens: tokens) {
      plane throws(FieldFault) in
      if rawPlanes > 0 {
        try Kernel.check(
          unsafe kdn_exact_bases(
            Kernel.path, plane, raw.baseAddress, UInt64(raw.count), &bases), "bases")
      }
      try Kernel.check(
        unsafe kdn_exact_split(
          Kernel.path, plane, raw.baseAddress, UInt64(raw.count), bases, q.baseAddress,
          UInt64(q.count), rest.baseAddress, UInt64(rest.count)), "split")
    }
    let choice = unsafe try ExactTableChoice(q, channels: channels, tokens: tokens, room)
    let tables = try ExactTable.encodeTables(choice.tables)
    let coded = unsafe try CodedStream(
      compacting: q, classes: choice.classes, tokens: tokens, stride: dense, tables: tables,
      tableCount: UInt32(choice.tables.count + 1), room)
    let block = unsafe assembled(
      bases: bases, choice, rest: UnsafeRawBufferPointer(rest), rawPlanes: rawPlanes,
      planeBytes: planeBytes, coded)
    return block.count < raw.count ? block : nil
  }

  /// The mean of each channel of integers.
  ///
  /// Elements of other types of one byte have a sign before the exponent, so that a mean says
  /// nothing of them.
  private static func signedMeans(
    _ raw: UnsafeRawBufferPointer, _ plane: PlaneShape, tokens: Int
  ) -> [UInt8] {
    (0..<plane.channels).map { channel in
      let first = channel / plane.dims * tokens * plane.dims + channel % plane.dims
      var sum = 0
      for token in 0..<tokens {
        sum += unsafe Int(Int8(bitPattern: raw[first + token * plane.dims]))
      }
      return UInt8(truncatingIfNeeded: sum / tokens)
    }
  }

  private static func assembled(
    bases: [UInt8], _ choice: ExactTableChoice, rest: UnsafeRawBufferPointer, rawPlanes: Int,
    planeBytes: Int, _ coded: CodedStream
  ) -> [UInt8] {
    var planes: [UnsafeRawBufferPointer] = unsafe []
    for index in 0..<rawPlanes {
      unsafe planes.append(
        UnsafeRawBufferPointer(rebasing: rest[index * planeBytes..<(index + 1) * planeBytes]))
    }
    let constants = unsafe planes.indices.map { unsafe isConstant(planes[$0]) }
    var mask: UInt8 = 0
    for (index, constant) in constants.enumerated() where constant { mask |= 1 << index }
    var writer = unsafe ByteWriter(
      capacity: rest.count + coded.byteCount + 4 * bases.count + 4096)
    unsafe writer.put(UInt32(coded.wordCount))
    unsafe writer.put(UInt32(coded.escapeCount))
    writer.put(UInt8(choice.tables.count))
    writer.put(UInt8(rawPlanes))
    writer.put(mask)
    writer.putZeros(5)
    writer.put(contentsOf: bases)
    writer.pad()
    writer.put(contentsOf: choice.classes)
    writer.pad()
    for table in choice.tables { table.write(to: &writer) }
    writer.pad()
    for (index, constant) in constants.enumerated() {
      let plane = unsafe planes[index]
      unsafe writer.put(
        contentsOf: UnsafeRawBufferPointer(rebasing: plane[..<(constant ? 1 : plane.count)]))
    }
    writer.pad()
    unsafe coded.write(to: &writer)
    return writer.bytes
  }

  /// Whether all bytes are the same: each is as the one before.
  private static func isConstant(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let first = bytes.baseAddress else { return true }
    return unsafe memcmp(first, first + 1, bytes.count - 1) == 0
  }
}
