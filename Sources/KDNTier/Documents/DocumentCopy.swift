internal import KDNCore
internal import KDNMemory

/// The file of documents in one directory; everything blocks.
struct DocumentCopy: Sendable {
  /// Where it lies.
  let directory: any BlockDirectory
  /// nil: to be replaced with the next batch.
  private var file: (any BlockFile)?
  private var nonce: UInt64 = 0
  private var nextBlock = 0

  init(_ directory: any BlockDirectory) { self.directory = directory }

  /// Writes nothing more into the file: nothing is known of what it holds.
  mutating func abandon() { file = nil }

  /// Goes on with a file that is whole.
  mutating func reopen(
    _ survey: DocumentSurvey, _ problems: inout [(path: String, problem: String)]
  ) {
    guard let header = survey.header else { return }
    do {
      let file = try directory.open(DirectoryLayout.documents)
      // What stands there may have been written and never made durable.
      try file.synchronise()
      self.file = file
      nonce = header.nonce
      nextBlock = survey.nextBlock
    } catch {
      problems.append((directory.path, "\(error)"))
    }
  }

  /// Writes a batch behind the others; false if there is no file or no room.
  mutating func append(
    _ changes: [DocumentChange], batch: UInt64
  ) throws(DiskError) -> Bool {
    guard let file else { return false }
    let frame = DocumentFrame(nonce: nonce, batch: batch, changes: changes)
    let buffer = frame.buffer
    let start = nextBlock * diskBlockBytes
    guard start + buffer.byteCount <= file.byteCount else { return false }
    try file.write(at: start, from: [buffer.span])
    try file.synchronise()
    nextBlock += buffer.byteCount / diskBlockBytes
    return true
  }

  /// Puts a new file with this state in the place of the one that is there.
  mutating func replace(
    _ changes: [DocumentChange], batch: UInt64, frameBytes: Int
  ) throws(DiskError) {
    file = nil
    let pieces = DocumentFrame.pieces(of: changes, bytesMax: frameBytes)
    let stateBytes = pieces.reduce(0) { $0 + $1.frameBytes }
    // As much again as half the state, so that changes cost a small multiple of their own bytes.
    let room = max(32 * diskBlockBytes, stateBytes / 2 / diskBlockBytes * diskBlockBytes)
    let draft = DirectoryLayout.documentsDraft
    try directory.remove(draft)
    let made = try directory.create(draft, byteCount: diskBlockBytes + stateBytes + room)
    nonce = UInt64.random(in: 1 ... .max)
    let header = DocumentFileHeader(nonce: nonce, batch: batch, stateFrames: pieces.count)
    let first = PageBuffer(byteCount: diskBlockBytes)
    unsafe header.write(to: first.bytes)
    try made.write(at: 0, from: [first.span])
    nextBlock = 1
    for piece in pieces {
      let frame = DocumentFrame(
        nonce: nonce, batch: batch, changes: Array(changes[piece.changes]))
      let buffer = frame.buffer
      try made.write(at: nextBlock * diskBlockBytes, from: [buffer.span])
      nextBlock += buffer.byteCount / diskBlockBytes
    }
    try made.synchronise()
    try directory.rename(draft, to: DirectoryLayout.documents)
    file = made
  }
}

extension DocumentFrame {
  /// The frame in memory that can be written.
  fileprivate var buffer: PageBuffer {
    let bytes = changes.reduce(0) { $0 + $1.bytes.count }
    let buffer = PageBuffer(byteCount: Self.byteCount(changeBytes: bytes))
    unsafe write(to: buffer.bytes)
    return buffer
  }

  /// Cuts changes into frames of about `bytesMax` bytes.
  fileprivate static func pieces(
    of changes: [DocumentChange], bytesMax: Int
  ) -> [(changes: Range<Int>, frameBytes: Int)] {
    var pieces: [(changes: Range<Int>, frameBytes: Int)] = []
    var (start, bytes) = (0, 0)
    for (index, change) in changes.enumerated() {
      let count = change.bytes.count
      if bytes > 0, bytes + count > bytesMax {
        pieces.append((start..<index, byteCount(changeBytes: bytes)))
        (start, bytes) = (index, 0)
      }
      bytes += count
    }
    if bytes > 0 { pieces.append((start..<changes.count, byteCount(changeBytes: bytes))) }
    return pieces
  }
}
