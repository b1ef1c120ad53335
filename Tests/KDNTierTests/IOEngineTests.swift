import Foundation
import KDNCore
import KDNMemory
import Synchronization
import Testing

@testable import KDNTier

@Suite("Engines of disk I/O")
struct IOEngineTests {
  static let mebibyte = 1 << 20

  @Test("what was written is read back, however it is cut", arguments: EngineKind.usable)
  func roundTrip(_ kind: EngineKind) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 6 * Self.mebibyte)
    let engine = try kind.make()
    defer { engine.shutDown() }
    let written = PageBuffer.pattern(byteCount: 4 * Self.mebibyte)
    let read = PageBuffer(byteCount: 4 * Self.mebibyte)
    try engine.write(file, at: Self.mebibyte, written, written.pieces(4096, 1_998_848))
    try engine.wait(for: .synchronise(file))
    try engine.read(file, at: Self.mebibyte, read, read.pieces(Self.mebibyte, 8192))
    #expect(read.hasBytes(of: written))
    let before = PageBuffer.pattern(byteCount: Self.mebibyte)
    try engine.read(file, at: 0, before)
    #expect(before.hasBytes(of: PageBuffer(byteCount: Self.mebibyte)))
  }

  @Test("a thousand and twenty-four pieces go at once", arguments: EngineKind.usable)
  func manyPieces(_ kind: EngineKind) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 4 * Self.mebibyte)
    let engine = try kind.make()
    defer { engine.shutDown() }
    let written = PageBuffer.pattern(byteCount: 4 * Self.mebibyte)
    let read = PageBuffer(byteCount: 4 * Self.mebibyte)
    let pages = (0..<1024).reversed().map {
      BlockSpan(base: written.base + $0 * 4096, byteCount: 4096)
    }
    let places = (0..<1024).reversed().map {
      BlockSpan(base: read.base + $0 * 4096, byteCount: 4096)
    }
    try engine.write(file, at: 0, written, pages)
    try engine.read(file, at: 0, read, places)
    #expect(read.hasBytes(of: written))
  }

  @Test("reads pass writes that wait, and synchronisations that wait", arguments: EngineKind.usable)
  func readsPass(_ kind: EngineKind) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 4096)
    let engine = try kind.make()
    let pipe = PipeFile()
    let gate = Gate()
    let page = PageBuffer(byteCount: 4096)
    let done = Atomic<Int>(0)
    for _ in 0..<8 {
      engine.submitWrite(pipe, at: 0, page) { _ in
        done.add(1, ordering: .relaxed)
      }
      engine.submit(.run { gate.pass() }) { _ in done.add(1, ordering: .relaxed) }
    }
    try engine.read(file, at: 0, PageBuffer(byteCount: 4096))
    #expect(done.load(ordering: .relaxed) <= 1)  // The first write fills the pipe.
    pipe.drain(byteCount: 8 * 4096)
    gate.open()
    engine.shutDown()
    #expect(done.load(ordering: .relaxed) == 16)
  }

  @Test("writes pass whatever else waits", arguments: EngineKind.usable)
  func writesPass(_ kind: EngineKind) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 4096)
    let engine = try kind.make()
    let gate = Gate()
    for _ in 0..<4 { engine.submit(.run { gate.pass() }) { _ in } }
    try engine.write(file, at: 0, PageBuffer(byteCount: 4096))
    gate.open()
    engine.shutDown()
  }

  @Test("a work outlives the thread that submitted it", arguments: EngineKind.usable)
  func submitterEnds(_ kind: EngineKind) throws {
    let engine = try kind.make()
    let pipe = PipeFile()
    let page = PageBuffer(byteCount: 4096)
    try engine.write(pipe, at: 0, page)
    let outcome = DiskOutcome()
    let submitter = try OwnThread(name: "submitter") {
      engine.submitWrite(pipe, at: 0, page) { outcome.tell($0) }
    }
    submitter.join()
    pipe.drain(byteCount: 2 * 4096)
    try outcome.get()
    engine.shutDown()
  }

  @Test("each work of many threads is told of once", arguments: EngineKind.usable)
  func exactlyOnce(_ kind: EngineKind) throws {
    let (threadCount, workCount) = (8, 200)
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: threadCount * 4096)
    let engine = try kind.make()
    let told = Guarded([Int](repeating: 0, count: threadCount * workCount))
    let failed = Atomic<Int>(0)
    let threads = try (0..<threadCount).map { thread in
      try OwnThread(name: "submitter-\(thread)") {
        let page = PageBuffer(byteCount: 4096)
        for index in 0..<workCount {
          let work: DiskWork =
            switch index % 20 {
            case 0: .synchronise(file)
            case 1: .run {}
            case 2...9: .write(file, at: thread * 4096, from: page.pieces())
            default: .read(file, at: thread * 4096, into: page.pieces())
            }
          engine.submit(work) { outcome in
            // Keeps the page until the last work is done.
            withExtendedLifetime(page) {
              told.withLock { $0[thread * workCount + index] += 1 }
              if case .failure = outcome { failed.add(1, ordering: .relaxed) }
            }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    engine.shutDown()
    #expect(told.withLock { $0.allSatisfy { $0 == 1 } })
    #expect(failed.load(ordering: .relaxed) == 0)
  }

  @Test("a completion is called on another thread, and may submit", arguments: EngineKind.usable)
  func completionSubmits(_ kind: EngineKind) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 4096)
    let engine = try kind.make()
    let page = PageBuffer(byteCount: 4096)
    let outcome = DiskOutcome()
    let submitter = pthread_self()
    let wasElsewhere = Atomic<Bool>(false)
    engine.submit(.read(file, at: 0, into: page.pieces())) { _ in
      wasElsewhere.store(pthread_equal(submitter, pthread_self()) == 0, ordering: .relaxed)
      engine.submitWrite(file, at: 0, page) { _ in
        engine.submit(.synchronise(file)) { outcome.tell($0) }
      }
    }
    try outcome.get()
    #expect(wasElsewhere.load(ordering: .relaxed) == true)
    engine.shutDown()
  }

  @Test("shutting down waits for everything", arguments: EngineKind.usable)
  func shutDownWaits(_ kind: EngineKind) throws {
    let engine = try kind.make()
    let pipe = PipeFile()
    let gate = Gate()
    let page = PageBuffer(byteCount: 4096)
    let done = Atomic<Int>(0)
    for _ in 0..<20 {
      engine.submitWrite(pipe, at: 0, page) { _ in
        done.add(1, ordering: .relaxed)
      }
      engine.submit(.run { gate.pass() }) { _ in done.add(1, ordering: .relaxed) }
    }
    let opener = try OwnThread(name: "opener") {
      gate.open()
      pipe.drain(byteCount: 20 * 4096)
    }
    engine.shutDown()
    #expect(done.load(ordering: .relaxed) == 40)
    opener.join()
    engine.shutDown()
  }

  @Test("an engine that is dropped still does what it was given", arguments: EngineKind.usable)
  func dropped(_ kind: EngineKind) throws {
    let outcomes = (0..<4).map { _ in DiskOutcome() }
    let pipe = PipeFile()
    let page = PageBuffer(byteCount: 4096)
    do {
      let engine = try kind.make()
      for outcome in outcomes {
        engine.submitWrite(pipe, at: 0, page) { outcome.tell($0) }
      }
    }
    pipe.drain(byteCount: outcomes.count * 4096)
    for outcome in outcomes { try outcome.get() }
  }

  @Test("work after the end is a broken promise")
  func submitAfterEnd() async {
    await #expect(processExitsWith: .failure) {
      let engine = try ThreadEngine(readers: 1, writers: 1, others: 1)
      engine.shutDown()
      engine.submit(.run {}) { _ in }
    }
  }
}
