import Foundation
import KDNCore
import KDNMemory
import Testing

@testable import KDNTier

/// A fresh folder that is removed with its last reference.
final class Folder: Sendable {
  let path: String

  init(in parent: String = NSTemporaryDirectory()) throws {
    path = "\(parent)/kdn-io-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func url(_ name: String) -> URL { URL(filePath: path).appending(path: name) }
}

/// The engines that this kernel, and what confines this process, let be used.
enum EngineKind: String, CaseIterable, CustomTestStringConvertible {
  case threads, uring

  static var usable: [EngineKind] {
    (try? UringEngine.probe()) == nil ? [.threads] : allCases
  }

  var testDescription: String { rawValue }

  func make() throws -> any DiskEngine {
    switch self {
    case .threads: try ThreadEngine(readers: 2, writers: 2, others: 1, label: "test")
    case .uring:
      try UringEngine(
        places: UringPlaces(reads: 2, writes: 2, synchronisations: 1), label: "test")
    }
  }
}

extension PageBuffer {
  /// A buffer with bytes that differ from place to place.
  static func pattern(byteCount: Int, seed: UInt64 = 1) -> PageBuffer {
    let buffer = PageBuffer(byteCount: byteCount)
    var state = seed
    for offset in stride(from: 0, to: buffer.byteCount, by: 8) {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      buffer.base.storeBytes(of: state, toByteOffset: offset, as: UInt64.self)
    }
    return buffer
  }

  /// All of it, cut into pieces of these lengths and the rest.
  func pieces(_ lengths: Int...) -> [BlockSpan] {
    var start = 0
    var pieces: [BlockSpan] = []
    for length in lengths + [byteCount - lengths.reduce(0, +)] where length > 0 {
      pieces.append(BlockSpan(base: base + start, byteCount: length))
      start += length
    }
    return pieces
  }

  func hasBytes(of other: PageBuffer) -> Bool {
    byteCount == other.byteCount && memcmp(base, other.base, byteCount) == 0
  }
}

// The engines leave it to the caller to keep memory; these keep it until the work is done.
extension DiskEngine {
  func write(
    _ file: any BlockFile, at offset: Int, _ buffer: PageBuffer, _ pieces: [BlockSpan]? = nil
  ) throws(DiskError) {
    defer { withExtendedLifetime(buffer) {} }
    try wait(for: .write(file, at: offset, from: pieces ?? buffer.pieces()))
  }

  func read(
    _ file: any BlockFile, at offset: Int, _ buffer: PageBuffer, _ pieces: [BlockSpan]? = nil
  ) throws(DiskError) {
    defer { withExtendedLifetime(buffer) {} }
    try wait(for: .read(file, at: offset, into: pieces ?? buffer.pieces()))
  }

  func submitWrite(
    _ file: any BlockFile, at offset: Int, _ buffer: PageBuffer,
    completion: @escaping @Sendable (Result<Void, DiskError>) -> Void
  ) {
    submit(.write(file, at: offset, from: buffer.pieces())) { outcome in
      withExtendedLifetime(buffer) { completion(outcome) }
    }
  }
}

extension BlockFile {
  func write(_ buffer: PageBuffer) throws(DiskError) {
    defer { withExtendedLifetime(buffer) {} }
    try write(at: 0, from: buffer.pieces())
  }

  func read(_ buffer: PageBuffer) throws(DiskError) {
    defer { withExtendedLifetime(buffer) {} }
    try read(at: 0, into: buffer.pieces())
  }
}

/// The disk error that `body` throws, nil if it throws none.
func diskError<T>(_ body: () throws -> T) -> DiskError? {
  do {
    _ = try body()
    return nil
  } catch {
    return error as? DiskError
  }
}

/// Lets threads wait until it is opened.
final class Gate: Sendable {
  private let tickets = CountingSemaphore()

  func open() { tickets.signal() }

  func pass() {
    tickets.wait()
    tickets.signal()
  }
}

/// A file whose writes wait until somebody reads at the other end: a pipe of one page.
final class PipeFile: BlockFile {
  let name = "pipe"
  let byteCount = 1 << 30
  let descriptor: Int32
  private let otherEnd: Int32

  init() {
    var ends: [Int32] = [-1, -1]
    precondition(pipe(&ends) == 0)
    (otherEnd, descriptor) = (ends[0], ends[1])
    let setPipeSize: Int32 = 1031
    precondition(fcntl(descriptor, setPipeSize, 4096) >= 4096)
  }

  deinit {
    close(descriptor)
    close(otherEnd)
  }

  func read(at offset: Int, into pieces: [BlockSpan]) throws(DiskError) {
    throw DiskError(call: "pread", file: name, code: ESPIPE)
  }

  func write(at offset: Int, from pieces: [BlockSpan]) throws(DiskError) {
    for piece in pieces where Glibc.write(descriptor, piece.base, piece.byteCount) < 0 {
      throw DiskError(call: "write", file: name, code: errno)
    }
  }

  func synchronise() throws(DiskError) {}

  /// Takes bytes out, waiting for them.
  func drain(byteCount: Int) {
    var left = byteCount
    var bytes = [UInt8](repeating: 0, count: 4096)
    while left > 0 { left -= Glibc.read(otherEnd, &bytes, min(left, bytes.count)) }
  }
}
