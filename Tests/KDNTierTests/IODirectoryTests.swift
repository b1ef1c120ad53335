import Foundation
import KDNCore
import KDNMemory
import Testing

@testable import KDNTier

@Suite("A directory of files")
struct IODirectoryTests {
  private func fault(_ open: () throws -> FileDirectory) -> DirectoryFault? {
    do {
      _ = try open()
      return nil
    } catch {
      return error as? DirectoryFault
    }
  }

  private func mode(_ path: String) -> mode_t {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode & 0o777 : 0
  }

  @Test("it is made for its owner alone, with one file: the lock")
  func made() throws {
    let folder = try Folder()
    let path = folder.path + "/cache"
    let directory = try FileDirectory(path: path)
    #expect(mode(path) == 0o700)
    #expect(mode(path + "/lock") == 0o600)
    #expect(try directory.list().map(\.name) == ["lock"])
    #expect(try directory.list().map(\.byteCount) == [4096])
    let text = try Data(contentsOf: folder.url("cache/lock"))
    #expect(String(decoding: text.prefix { $0 != 0 }, as: UTF8.self) == "\(getpid())\n")
  }

  @Test("a second opener in the same process is refused until the first is gone")
  func lockedHere() throws {
    let folder = try Folder()
    var first: FileDirectory? = try FileDirectory(path: folder.path)
    #expect(first != nil)
    let inUse = DirectoryFault.inUse(path: folder.path, pid: getpid())
    #expect(fault { try FileDirectory(path: folder.path) } == inUse)
    #expect(fault { try FileDirectory(readOnly: folder.path) } == inUse)
    first = nil
    #expect(fault { try FileDirectory(path: folder.path) } == nil)
  }

  @Test("an open file keeps the lock")
  func fileKeepsLock() throws {
    let folder = try Folder()
    var file: (any BlockFile)? = try FileDirectory(path: folder.path)
      .create("segment", byteCount: 4096)
    #expect(file?.byteCount == 4096)
    #expect(fault { try FileDirectory(path: folder.path) } != nil)
    file = nil
    #expect(fault { try FileDirectory(path: folder.path) } == nil)
  }

  @Test("another process that has the lock is named")
  func lockedElsewhere() throws {
    let folder = try Folder()
    #expect(mkfifo(folder.path + "/go", 0o600) == 0)
    let script = "exec 9>lock; flock -n 9; echo $$ >&9; echo $$; read line <go"
    let other = try #require(popen("cd '\(folder.path)'; \(script)", "r"))
    var line = [CChar](repeating: 0, count: 32)
    #expect(fgets(&line, Int32(line.count), other) != nil)
    let inUse = DirectoryFault.inUse(path: folder.path, pid: Int32(atol(line)))
    #expect(fault { try FileDirectory(path: folder.path) } == inUse)
    try Data("\n".utf8).write(to: folder.url("go"))
    pclose(other)
    #expect(fault { try FileDirectory(path: folder.path) } == nil)
  }

  @Test("something else of that name is no directory")
  func notADirectory() throws {
    let folder = try Folder()
    try Data().write(to: folder.url("file"))
    let path = folder.path + "/file"
    #expect(fault { try FileDirectory(path: path) } == .notADirectory(path: path))
    let nowhere = folder.path + "/a/b"
    let missing = DiskError(call: "mkdir", file: nowhere, code: ENOENT)
    #expect(fault { try FileDirectory(path: nowhere) } == .system(missing))
  }

  @Test("a lock that is a symbolic link is not followed")
  func linkedLock() throws {
    let folder = try Folder()
    #expect(symlink("/etc/hostname", folder.path + "/lock") == 0)
    let refused = DiskError(call: "open", file: "lock", code: ELOOP)
    #expect(fault { try FileDirectory(path: folder.path) } == .system(refused))
  }

  @Test("a tool that only reads changes no file")
  func readOnly() throws {
    let folder = try Folder()
    let never = DiskError(call: "open", file: "lock", code: ENOENT)
    #expect(fault { try FileDirectory(readOnly: folder.path) } == .system(never))
    _ = try FileDirectory(path: folder.path).create("segment", byteCount: 4096)
    let directory = try FileDirectory(readOnly: folder.path)
    #expect(diskError { try directory.create("new", byteCount: 4096) }?.code == EROFS)
    #expect(diskError { try directory.remove("segment") }?.code == EROFS)
    #expect(diskError { try directory.rename("segment", to: "new") }?.code == EROFS)
    #expect(Set(try directory.list().map(\.name)) == ["lock", "segment"])
    #expect(fault { try FileDirectory(path: folder.path) } != nil)
  }

  @Test("a new file has all its blocks, and only its owner may read it")
  func allocated() throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let file = try directory.create("segment", byteCount: 1 << 20)
    var status = stat()
    #expect(fstat(file.descriptor, &status) == 0)
    #expect(status.st_size == 1 << 20)
    #expect(Int(status.st_blocks) * 512 >= 1 << 20)
    #expect(mode(folder.path + "/segment") == 0o600)
    #expect(file.byteCount == 1 << 20)
    #expect(try directory.open("segment").byteCount == 1 << 20)
  }

  @Test("a name that is taken stays as it was")
  func nameTaken() throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let page = PageBuffer.pattern(byteCount: 4096)
    try directory.create("segment", byteCount: 4096).write(page)
    let taken = DiskError(call: "open", file: "segment", code: EEXIST)
    #expect(diskError { try directory.create("segment", byteCount: 8192) } == taken)
    let read = PageBuffer(byteCount: 4096)
    let file = try directory.open("segment")
    try file.read(read)
    #expect(file.byteCount == 4096)
    #expect(read.hasBytes(of: page))
  }

  @Test("a full device leaves no trace of the file that did not fit")
  func full() throws {
    // A file system in memory tells at once what exceeds it, and nothing has to be filled up.
    let folder = try Folder(in: "/dev/shm")
    let directory = try FileDirectory(path: folder.path)
    var room = statvfs()
    #expect(statvfs(folder.path, &room) == 0)
    let byteCount = (Int(room.f_blocks * room.f_frsize) + 8192) & ~4095
    let full = DiskError(call: "fallocate", file: "segment", code: ENOSPC)
    #expect(diskError { try directory.create("segment", byteCount: byteCount) } == full)
    #expect(try directory.list().map(\.name) == ["lock"])
    _ = try directory.create("segment", byteCount: 4096)
  }

  @Test("without fallocate a new file is written full of zeros")
  func zeros() throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    let byteCount = (2 << 20) + 4096
    let file = try directory.create("segment", byteCount: byteCount)
    let read = PageBuffer.pattern(byteCount: byteCount)
    try file.write(read)
    try FileDirectory.writeZeros(file)
    try file.read(read)
    #expect(read.hasBytes(of: PageBuffer(byteCount: byteCount)))
  }

  @Test("what is no file is not opened")
  func noFile() throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    #expect(symlink(folder.path + "/lock", folder.path + "/link") == 0)
    #expect(mkdir(folder.path + "/folder", 0o700) == 0)
    #expect(mkfifo(folder.path + "/pipe", 0o600) == 0)
    func code(_ name: String) -> Int32? { diskError { try directory.open(name) }?.code }
    #expect(code("link") == ELOOP)
    #expect(code("folder") == EINVAL)
    #expect(code("pipe") == EINVAL)
    #expect(code("nothing") == ENOENT)
    #expect(diskError { try directory.create("link", byteCount: 4096) }?.code == EEXIST)
    #expect(try directory.list().map(\.name) == ["lock"])
  }

  @Test("names that lead elsewhere are refused", arguments: ["", ".", "..", "a/b", "/a", "a\0b"])
  func badNames(_ name: String) throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    #expect(diskError { try directory.open(name) }?.code == EINVAL)
    #expect(diskError { try directory.create(name, byteCount: 4096) }?.code == EINVAL)
    #expect(diskError { try directory.remove(name) }?.code == EINVAL)
    #expect(diskError { try directory.rename(name, to: "b") }?.code == EINVAL)
    #expect(diskError { try directory.rename("lock", to: name) } != nil)
  }

  @Test("the lock is neither removed nor replaced")
  func lockStays() throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    _ = try directory.create("segment", byteCount: 4096)
    #expect(diskError { try directory.remove("lock") }?.code == EPERM)
    #expect(diskError { try directory.rename("lock", to: "other") }?.code == EPERM)
    #expect(diskError { try directory.rename("segment", to: "lock") }?.code == EPERM)
    #expect(fault { try FileDirectory(path: folder.path) } != nil)
  }

  @Test("files are removed, and put in the place of others")
  func removeAndRename() throws {
    let folder = try Folder()
    let directory = try FileDirectory(path: folder.path)
    _ = try directory.create("a", byteCount: 4096)
    _ = try directory.create("b", byteCount: 8192)
    try directory.rename("b", to: "a")
    #expect(try directory.open("a").byteCount == 8192)
    #expect(try directory.list().count == 2)
    try directory.remove("a")
    try directory.remove("a")
    #expect(try directory.list().map(\.name) == ["lock"])
    let gone = DiskError(call: "rename", file: "a", code: ENOENT)
    #expect(diskError { try directory.rename("a", to: "b") } == gone)
  }
}
