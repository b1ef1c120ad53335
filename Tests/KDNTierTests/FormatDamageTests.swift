import KDNCore
import Testing

@testable import KDNTier

@Suite("Damaged structures on disk are refused")
struct FormatDamageTests {
  @Test("every single bit that turns is noticed", arguments: FormatStructure.all)
  func bitFlips(_ structure: FormatStructure) throws {
    var bytes = try structure.sample(11)
    #expect(structure.refusal(bytes) == nil)
    var unnoticed: [Int] = []
    for bit in 0..<bytes.count * 8 {
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      if structure.refusal(bytes) == nil { unnoticed.append(bit) }
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
    }
    #expect(unnoticed.isEmpty)
  }

  @Test("bytes that end early are refused at every length", arguments: FormatStructure.all)
  func truncation(_ structure: FormatStructure) throws {
    let bytes = try structure.sample(12)
    for count in 0..<bytes.count {
      #expect(structure.refusal(Array(bytes[..<count])) != nil, "cut to \(count) bytes")
    }
  }

  @Test("zeros and ones are no structure", arguments: FormatStructure.all)
  func blank(_ structure: FormatStructure) throws {
    let count = try structure.sample(1).count
    #expect(structure.refusal([UInt8](repeating: 0, count: count))?.field == "magic")
    #expect(structure.refusal([UInt8](repeating: 255, count: count))?.field == "magic")
  }

  @Test("no structure is taken for another", arguments: FormatStructure.all)
  func otherStructures(_ structure: FormatStructure) throws {
    for other in FormatStructure.all where other.kind != structure.kind {
      var bytes = try other.sample(3)
      let wanted = try structure.sample(3).count
      bytes = Array((bytes + [UInt8](repeating: 0, count: wanted)).prefix(wanted))
      #expect(structure.refusal(bytes)?.field == "magic", "\(other.name)")
    }
  }

  @Test(
    "another version is refused with the number found and the one supported",
    arguments: FormatStructure.all, [0, 2, 0xFFFF] as [UInt16])
  func version(_ structure: FormatStructure, version: UInt16) throws {
    var bytes = try structure.sample(4)
    bytes[4] = UInt8(truncatingIfNeeded: version)
    bytes[5] = UInt8(version >> 8)
    // Also where the rest of the structure, checksum and all, has another form.
    for index in 6..<bytes.count { bytes[index] = UInt8(truncatingIfNeeded: index) }
    let fault = try #require(structure.refusal(bytes))
    #expect(fault.field == (structure.name == "superblock" ? "formatVersion" : "version"))
    #expect(fault.value == UInt64(version))
    #expect(fault.limit == 1)
  }

  @Test("a record header is refused with any other nonce")
  func wrongNonce() throws {
    let bytes = try FormatStructure.recordHeader.sample(5)
    var others = (0..<64).map { FormatStructure.nonce ^ (1 << $0) }
    others += [0, .max]
    for nonce in others {
      #expect(headerFault(bytes, nonce: nonce)?.field == "headerChecksum")
    }
    #expect(headerFault(bytes, nonce: FormatStructure.nonce) == nil)
  }

  @Test("a checksum without the nonce does not make a record header")
  func plainChecksum() throws {
    var bytes = try FormatStructure.recordHeader.sample(6)
    store(Checksum(of: bytes, first: 504).value, in: &bytes, at: 504)
    #expect(headerFault(bytes, nonce: 0)?.field == "headerChecksum")
  }

  @Test("a frame of another epoch or place in the journal is refused")
  func framePlace() throws {
    let bytes = try FormatStructure.frame(lists: 3).sample(7)
    #expect(frameFault(bytes, epoch: 8, index: 3)?.field == "epoch")
    #expect(frameFault(bytes, epoch: 7, index: 4)?.field == "index")
    #expect(frameFault(bytes, epoch: 7, index: 3) == nil)
  }

  @Test("a checkpoint of another directory is refused")
  func checkpointDirectory() throws {
    let bytes = try FormatStructure.checkpoint.sample(8)
    let fault = fault {
      _ = try reading(bytes) { buffer throws(FieldFault) in
        try Checkpoint(reading: buffer, directoryID: .random())
      }
    }
    #expect(fault?.field == "directoryID")
  }

  @Test("no block inside a frame can begin another frame, whatever the entries hold")
  func framesInside() throws {
    // Chunk hashes are bytes that a client chose: here they are a valid frame, shifted so that
    // without the marks one would have it where a block begins.
    let evil = JournalFrame(epoch: 7, index: 0, entries: [.sequenceReserved(9)]).blocks
    let name = try NamespaceName("n")
    for shift in 4000...4128 {
      let chosen = [UInt8](repeating: 0, count: shift) + evil + evil + evil + evil
      let whole = chosen.prefix(chosen.count / 32 * 32)
      let hashes = try stride(from: 0, to: whole.count, by: 32).map {
        try ChunkHash(Array(whole[$0..<$0 + 32]))
      }
      let entry = JournalEntry.purgedChunks(name, sequence: 1, hashes: hashes)
      let outer = JournalFrame(epoch: 5, index: 0, entries: [entry]).blocks
      for start in stride(from: 4096, to: outer.count, by: 4096) {
        #expect(frameFault(Array(outer[start...]), epoch: 7, index: 0)?.field == "magic")
      }
    }
  }

  private func headerFault(_ bytes: [UInt8], nonce: UInt64) -> FieldFault? {
    refused { () throws(FieldFault) in
      _ = try reading(bytes) { buffer throws(FieldFault) in
        try RecordHeader(reading: buffer, nonce: nonce)
      }
    }
  }

  private func frameFault(_ bytes: [UInt8], epoch: UInt64, index: UInt64) -> FieldFault? {
    refused { () throws(FieldFault) in
      _ = try reading(bytes) { buffer throws(FieldFault) in
        try JournalFrame.read(buffer, epoch: epoch, index: index)
      }
    }
  }

  /// The fault that `body` ends with, which must be a fault.
  private func fault(_ body: () throws -> Void) -> FieldFault? {
    #expect(throws: FieldFault.self, performing: body)
  }
}

/// The fault that `body` ends with, nil if it ends well.
func refused(_ body: () throws(FieldFault) -> Void) -> FieldFault? {
  do throws(FieldFault) {
    try body()
    return nil
  } catch {
    return error
  }
}

/// Puts a little-endian number into `bytes`.
func store(_ value: some FixedWidthInteger, in bytes: inout [UInt8], at offset: Int) {
  withUnsafeBytes(of: value.littleEndian) {
    bytes.replaceSubrange(offset..<offset + $0.count, with: $0)
  }
}

extension FormatStructure {
  /// The first word but "frame", of which there are two sizes.
  var kind: String { name.hasPrefix("journal frame") ? "journal frame" : name }
}
