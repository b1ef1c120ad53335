internal import KDNCore
internal import KDNMemory

/// Reads a directory of the log and changes nothing.
package struct LogReader: Sendable {
  /// What the directory is.
  package let superblock: Superblock
  /// All its files, by name, with their lengths.
  package let files: [String: Int]
  private let storage: any BlockDirectory

  /// Reads names and superblock.
  ///
  /// - Throws: `notOurs` without a superblock, `format` if it is damaged or newer, or what the
  ///   device refused.
  package init(_ storage: any BlockDirectory) throws(CheckFault) {
    self.storage = storage
    do throws(DiskError) {
      files = Dictionary(
        try storage.list().map { ($0.name, $0.byteCount) }, uniquingKeysWith: { first, _ in first })
    } catch {
      throw .device(error)
    }
    guard let byteCount = files[DirectoryLayout.superblock] else { throw .notOurs }
    guard byteCount >= Superblock.byteCount else {
      throw .format(
        FieldFault("length", value: byteCount, limit: Superblock.byteCount, "too short"))
    }
    let block: PageBuffer
    do throws(DiskError) {
      let file = try storage.open(DirectoryLayout.superblock)
      block = try Self.read(file, at: 0, byteCount: Superblock.byteCount)
    } catch {
      throw .device(error)
    }
    do throws(FieldFault) {
      superblock = try unsafe Superblock(reading: UnsafeRawBufferPointer(block.bytes))
    } catch {
      throw .format(error)
    }
  }

  /// Names of all segments, in the order of their numbers.
  package var segments: [String] {
    files.keys.compactMap(DirectoryLayout.segmentNumber).sorted()
      .map(DirectoryLayout.segmentName)
  }

  /// Opens a file of the directory.
  func open(_ name: String) throws(DiskError) -> any BlockFile { try storage.open(name) }

  /// Reads the journals.
  func journal() -> JournalSurvey { JournalSurvey(self) }

  /// Reads one segment; `readsPayloads`: with the bytes of all objects, compared with their
  /// checksums.
  ///
  /// `progress` is told how many of its bytes are behind.
  func segment(
    _ name: String, readsPayloads: Bool, progress: (_ doneBytes: Int) -> Void
  ) -> SegmentSurvey {
    SegmentSurvey(name, self, readsPayloads: readsPayloads, progress: progress)
  }

  /// What is wrong with the checkpoint, if there is one.
  func checkpointFinding() -> CheckFinding? {
    let name = DirectoryLayout.checkpoint
    guard let byteCount = files[name] else { return nil }
    guard byteCount >= diskBlockBytes, byteCount % diskBlockBytes == 0 else {
      return CheckFinding(name, .wrongLength(found: byteCount, expected: diskBlockBytes))
    }
    do {
      let file = try storage.open(name)
      let content = try Self.read(file, at: 0, byteCount: byteCount)
      _ = try unsafe Checkpoint(
        reading: UnsafeRawBufferPointer(content.bytes), directoryID: superblock.directoryID)
      return nil
    } catch let fault as FieldFault {
      return CheckFinding(name, .malformed(fault))
    } catch let error as DiskError {
      return CheckFinding(name, .unreadable(error))
    } catch {
      preconditionFailure("no other errors are thrown: \(error)")
    }
  }

  /// What is wrong with the list of profiles in use, if there is one.
  func profilesFinding() -> CheckFinding? {
    let name = DirectoryLayout.profiles
    do {
      let bytes = try storage.readRecord(name, bytesMax: diskBlockBytes << 8)
      _ = try bytes.map { bytes throws(FieldFault) in try ProfileUseList(reading: bytes) }
      return nil
    } catch let fault as FieldFault {
      return CheckFinding(name, .malformed(fault))
    } catch let error as DiskError {
      return CheckFinding(name, .unreadable(error))
    } catch {
      preconditionFailure("no other errors are thrown: \(error)")
    }
  }

  /// What the file of documents holds; nil if there is none.
  func documents() throws(DiskError) -> DocumentSurvey? {
    let bytes = try storage.readRecord(
      DirectoryLayout.documents, bytesMax: DocumentSurvey.byteCountMax)
    return bytes.map { bytes in
      unsafe bytes.withUnsafeBytes { unsafe DocumentSurvey(reading: $0) }
    }
  }

  /// Reads whole blocks of a file.
  static func read(
    _ file: any BlockFile, at offset: Int, byteCount: Int
  ) throws(DiskError) -> PageBuffer {
    let buffer = PageBuffer(byteCount: byteCount)
    try file.read(at: offset, into: [buffer.span])
    return buffer
  }
}
