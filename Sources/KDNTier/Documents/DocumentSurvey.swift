package import KDNCore

/// What a file of documents holds, and what is wrong with it.
package struct DocumentSurvey: Sendable {
  /// How far a file can be believed.
  package enum Condition: Equatable, Sendable {
    /// All that was written is there.
    case sound
    /// Behind what is there begins a frame that was not written to its end, at this block.
    case torn(block: Int, FieldFault)
    /// Something that was durable cannot be read, at this block.
    case damaged(block: Int, FieldFault)
  }

  /// nil if it cannot be read.
  package private(set) var header: DocumentFileHeader?
  /// Number of the last batch that is there, 0 if none is.
  package private(set) var batch: UInt64 = 0
  /// Number of the last batch that was there for certain, also if it cannot be reached.
  package private(set) var lastBatch: UInt64 = 0
  /// All changes that can be read, in order.
  package private(set) var changes: [DocumentChange] = []
  /// How many frames they came in.
  package private(set) var frames = 0
  /// The block behind the last frame.
  package private(set) var nextBlock = 1
  /// How far all this can be believed.
  package private(set) var condition = Condition.sound

  /// Longest file, in bytes.
  package static let byteCountMax = 64 << 20

  /// Reads a whole file, whole blocks.
  @unsafe package init(reading file: UnsafeRawBufferPointer) {
    do throws(FieldFault) {
      guard file.count >= diskBlockBytes else {
        throw FieldFault("length", value: file.count, limit: diskBlockBytes, "no whole block")
      }
      let block = unsafe UnsafeRawBufferPointer(rebasing: file[..<diskBlockBytes])
      let header = unsafe try DocumentFileHeader(reading: block)
      self.header = header
      (batch, lastBatch) = (header.batch, header.batch)
      unsafe readFrames(of: header, file)
    } catch {
      condition = .damaged(block: 0, error)
    }
  }

  @unsafe private mutating func readFrames(
    of header: DocumentFileHeader, _ file: UnsafeRawBufferPointer
  ) {
    while nextBlock * diskBlockBytes < file.count {
      let start = nextBlock * diskBlockBytes
      let expected = frames < header.stateFrames ? header.batch : batch + 1
      do throws(FieldFault) {
        let rest = unsafe UnsafeRawBufferPointer(rebasing: file[start...])
        let (frame, byteCount) = unsafe try DocumentFrame.read(
          rest, nonce: header.nonce, from: expected)
        guard frame.batch == expected else {
          throw FieldFault(
            "batch", value: frame.batch, limit: expected, "batches before it are missing")
        }
        changes += frame.changes
        frames += 1
        nextBlock += byteCount / diskBlockBytes
        batch = frame.batch
        lastBatch = frame.batch
      } catch {
        unsafe noteEnd(error, header, file)
        return
      }
    }
    guard frames < header.stateFrames else { return }
    condition = .damaged(
      block: nextBlock,
      FieldFault("stateFrames", value: frames, limit: header.stateFrames, "frames are missing"))
  }

  /// Whatever stands where the next frame would: nothing, a frame that was not written to its end,
  /// or one that has been damaged since.
  @unsafe private mutating func noteEnd(
    _ fault: FieldFault, _ header: DocumentFileHeader, _ file: UnsafeRawBufferPointer
  ) {
    let start = nextBlock * diskBlockBytes
    for place in stride(from: start, to: file.count, by: diskBlockBytes) {
      let rest = unsafe UnsafeRawBufferPointer(rebasing: file[place...])
      // Cheap to ask, and no client knows the nonce.
      guard unsafe number(rest, at: DocumentFrame.nonceOffset) == header.nonce,
        let later = try? unsafe DocumentFrame.read(rest, nonce: header.nonce, from: batch)
      else { continue }
      lastBatch = max(lastBatch, later.frame.batch)
    }
    let block = unsafe UnsafeRawBufferPointer(rebasing: file[start..<start + diskBlockBytes])
    if lastBatch > batch || frames < header.stateFrames {
      condition = .damaged(block: nextBlock, fault)
    } else if unsafe block.contains(where: { $0 != 0 }) {
      condition = .torn(block: nextBlock, fault)
    }
  }

  @unsafe private func number(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64 {
    unsafe UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}
