import Foundation
import KDNCore
import KDNMemory
import Testing

@testable import KDNTier

@Suite("The io_uring engine")
struct IOUringTests {
  private func transfer(
    _ action: UringTransfer.Action, byteCount: Int = 16384
  ) throws
    -> UringTransfer
  {
    let never = try OpenDescriptor(1 << 24, "open", "f")
    let file = OpenFile(never, name: "f", byteCount: byteCount, in: nil)
    return UringTransfer(action, file, at: 4096) { _ in }
  }

  private func isAgain(_ step: UringTransfer.Step) -> Bool {
    if case .again = step { true } else { false }
  }

  private func outcome(_ step: UringTransfer.Step) -> Result<Void, DiskError>? {
    if case .done(let outcome) = step { outcome } else { nil }
  }

  @Test("a transfer that came short goes on where it stopped")
  func goesOn() throws {
    let buffer = PageBuffer(byteCount: 12288)
    let vector = IOVector(buffer.pieces(4096, 4096))
    let transfer = try transfer(.read(vector))
    #expect(isAgain(transfer.take(4096 + 512)))
    #expect(transfer.offset == 4096 + 4608)
    #expect(vector.count == 2)
    #expect(vector.next.pointee.iov_base == buffer.base + 4608)
    #expect(vector.next.pointee.iov_len == 4096 - 512)
    #expect(isAgain(transfer.take(-EINTR)))
    #expect(throws: Never.self) { try outcome(transfer.take(12288 - 4608))?.get() }
    #expect(vector.byteCount == 0)
    withExtendedLifetime(buffer) {}
  }

  @Test("a transfer without room waits in the kernel, and fails if it still finds none")
  func waitsForRoom() throws {
    let transfer = try transfer(.write(IOVector(PageBuffer(byteCount: 4096).pieces())))
    #expect(isAgain(transfer.take(-EAGAIN)))
    #expect(transfer.mayWait)
    #expect(throws: DiskError(call: "pwrite", file: "f", code: EAGAIN)) {
      try outcome(transfer.take(-EAGAIN))?.get()
    }
  }

  @Test("a file that ends is an error", arguments: [Int32(0), 100])
  func ends(_ count: Int32) throws {
    let transfer = try transfer(.read(IOVector(PageBuffer(byteCount: 4096).pieces())))
    #expect(throws: DiskError(call: "pread", file: "f", code: 0)) {
      try outcome(transfer.take(count))?.get()
    }
  }

  @Test("a piece is in the range that has all of it")
  func ranges() {
    let base = UnsafeRawPointer(bitPattern: 1 << 32)
    let other = UnsafeRawPointer(bitPattern: 1 << 40)
    let gibibyte = 1 << 30
    let memory = RegisteredMemory([
      UnsafeRawBufferPointer(start: other, count: 8192),
      UnsafeRawBufferPointer(start: base, count: gibibyte + 8192),
    ])
    #expect(memory.ranges.count == 3)
    func index(_ start: Int, _ count: Int) -> Int32? {
      memory.index(
        of: iovec(iov_base: UnsafeMutableRawPointer(bitPattern: start), iov_len: count))
    }
    #expect(index(1 << 32, gibibyte) == 0)
    #expect(index((1 << 32) + gibibyte - 4096, 4096) == 0)
    #expect(index((1 << 32) + gibibyte - 4096, 8192) == nil)
    #expect(index((1 << 32) + gibibyte, 8192) == 1)
    #expect(index((1 << 32) + gibibyte + 8192, 4096) == nil)
    #expect(index((1 << 32) - 4096, 4096) == nil)
    #expect(index(1 << 40, 8192) == 2)
    #expect(index(1 << 40, 12288) == nil)
    #expect(RegisteredMemory().index(of: iovec(iov_base: nil, iov_len: 4096)) == nil)
  }

  @Test("the probe succeeds where nothing confines the process")
  func probe() throws {
    func text(_ path: String) -> String {
      (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    }
    let isEnabled = text("/proc/sys/kernel/io_uring_disabled").hasPrefix("0")
    guard isEnabled, text("/proc/self/status").contains("Seccomp:\t0") else { return }
    try UringEngine.probe()
  }

  @Test("a ring that the kernel refuses leaves nothing to take down")
  func refused() {
    let error = diskError { try UringRing(entries: 0) }
    #expect(error?.call == "io_uring_setup")
    #expect(error?.code != 0)
  }

  @Test("auto takes io_uring where it can be used, threads elsewhere, and says why")
  func auto() throws {
    let (engine, reason) = try DiskEngines.choose(.auto)
    engine.shutDown()
    #expect(engine.name == (EngineKind.usable.contains(.uring) ? "io_uring" : "threads"))
    #expect(reason.hasPrefix(engine.name + ": "))
    let (threads, asked) = try DiskEngines.choose(.threads)
    threads.shutDown()
    #expect((threads.name, asked) == ("threads", "threads: as configured"))
  }
}

@Suite("Memory registered with io_uring")
struct IORegisteredMemoryTests {
  @Test(
    "works inside, outside and across its edge carry the right bytes",
    arguments: EngineKind.usable.filter { $0 == .uring })
  func registered(_ kind: EngineKind) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 1 << 20)
    let written = PageBuffer.pattern(byteCount: 1 << 20)
    let read = PageBuffer(byteCount: 1 << 20)
    let half = 1 << 19
    let memory = RegisteredMemory([
      UnsafeRawBufferPointer(start: written.base, count: half),
      UnsafeRawBufferPointer(start: read.base + half, count: half),
    ])
    let engine = try UringEngine(registering: memory)
    defer { engine.shutDown() }
    let edge = half - 4096
    for (start, count) in [(0, edge), (edge, 8192), (edge + 8192, half - 4096)] {
      let source = BlockSpan(base: written.base + start, byteCount: count)
      try engine.write(file, at: start, written, [source])
    }
    for (start, count) in [(0, edge), (edge, 8192), (edge + 8192, half - 4096)] {
      let target = BlockSpan(base: read.base + start, byteCount: count)
      try engine.read(file, at: start, read, [target])
    }
    #expect(read.hasBytes(of: written))
  }

  @Test(
    "memory that cannot be registered is used all the same, and the note says so",
    arguments: EngineKind.usable.filter { $0 == .uring })
  func notRegistered(_ kind: EngineKind) throws {
    // No memory is there, so no kernel keeps hold of it.
    let nowhere = UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: 4096), count: 4096)
    let engine = try UringEngine(registering: RegisteredMemory([nowhere]))
    #expect(engine.note?.contains("not registered") == true)
    try engine.wait(for: .run {})
    engine.shutDown()
  }
}
