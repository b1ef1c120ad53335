import Foundation
import KDNCore
import KDNMemory
import Testing

@testable import KDNTier

@Suite("Errors of disk I/O")
struct IOErrorTests {
  @Test("a closed file", arguments: EngineKind.usable)
  func closedFile(_ kind: EngineKind) throws {
    let engine = try kind.make()
    defer { engine.shutDown() }
    let never = try OpenDescriptor(1 << 24, "open", "gone")  // Above any limit, so never open.
    let file = OpenFile(never, name: "gone", byteCount: 4096, in: nil)
    let page = PageBuffer(byteCount: 4096)
    func expected(_ call: String) -> DiskError { DiskError(call: call, file: "gone", code: EBADF) }
    #expect(diskError { try engine.read(file, at: 0, page) } == expected("pread"))
    #expect(diskError { try engine.write(file, at: 0, page) } == expected("pwrite"))
    #expect(diskError { try engine.wait(for: .synchronise(file)) } == expected("fdatasync"))
  }

  @Test("reading beyond the end comes short", arguments: EngineKind.usable)
  func beyondTheEnd(_ kind: EngineKind) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 8192)
    let engine = try kind.make()
    defer { engine.shutDown() }
    let short = DiskError(call: "pread", file: "segment", code: 0)
    let pages = PageBuffer(byteCount: 8192)
    #expect(diskError { try engine.read(file, at: 8192, pages) } == short)
    #expect(diskError { try engine.read(file, at: 4096, pages, pages.pieces(4096)) } == short)
    #expect(diskError { try engine.read(file, at: 0, pages, pages.pieces(4096)) } == nil)
  }

  @Test("a file cut off in the middle of a sector comes short", arguments: EngineKind.usable)
  func cutOff(_ kind: EngineKind) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 8192)
    #expect(truncate(folder.url("segment").path, 5000) == 0)
    let engine = try kind.make()
    defer { engine.shutDown() }
    let short = DiskError(call: "pread", file: "segment", code: 0)
    #expect(diskError { try engine.read(file, at: 0, PageBuffer(byteCount: 8192)) } == short)
  }

  @Test("no write makes a file longer", arguments: EngineKind.usable)
  func writeBeyondTheEnd(_ kind: EngineKind) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 8192)
    let engine = try kind.make()
    defer { engine.shutDown() }
    let tooLong = DiskError(call: "pwrite", file: "segment", code: EFBIG)
    let pages = PageBuffer(byteCount: 8192)
    #expect(diskError { try engine.write(file, at: 4096, pages) } == tooLong)
    #expect(diskError { try engine.write(file, at: 1 << 40, pages) } == tooLong)
    #expect(try directory.list().contains { $0 == ("segment", 8192) })
  }

  @Test("a file opened for reading is not written", arguments: EngineKind.usable)
  func readOnly(_ kind: EngineKind) throws {
    let folder = try Folder()
    let written = PageBuffer.pattern(byteCount: 4096)
    do {
      let directory = try FileDirectory(path: folder.path)
      try directory.create("segment", byteCount: 4096).write(written)
    }
    let file = try FileDirectory(readOnly: folder.path).open("segment")
    let engine = try kind.make()
    defer { engine.shutDown() }
    let page = PageBuffer(byteCount: 4096)
    let refused = DiskError(call: "pwrite", file: "segment", code: EBADF)
    #expect(diskError { try engine.write(file, at: 0, page) } == refused)
    #expect(diskError { try engine.read(file, at: 0, page) } == nil)
    #expect(page.hasBytes(of: written))
  }

  @Test("what other work throws arrives", arguments: EngineKind.usable)
  func otherWork(_ kind: EngineKind) throws {
    let engine = try kind.make()
    defer { engine.shutDown() }
    let thrown = DiskError(call: "any", file: "x", code: 7)
    #expect(
      diskError { try engine.wait(for: .run { () throws(DiskError) in throw thrown }) } == thrown)
    #expect(diskError { try engine.wait(for: .run {}) } == nil)
  }

  @Test("the message names call, file and cause")
  func messages() {
    #expect(
      DirectoryFault.inUse(path: "/a", pid: 7).description
        == "/a is in use by process 7: stop it, or give this one a directory of its own")
    #expect(DirectoryFault.inUse(path: "/a", pid: nil).description.contains("another process"))
    #expect(DirectoryFault.notADirectory(path: "/a").description.hasPrefix("/a is not a directory"))
    let full = DirectoryFault.system(DiskError(call: "fallocate", file: "b", code: ENOSPC))
    #expect(full.description == "fallocate of b failed: errno 28 (No space left on device)")
  }
}
