internal import CPlatform
internal import Glibc
internal import KDNMemory

/// A directory of real files, locked against every other process as long as this lives.
///
/// All file names are checked, opened relative to the directory that was opened first, and never
/// followed through a symbolic link. Thread-safe: it holds nothing but descriptors.
package final class FileDirectory: BlockDirectory {
  /// The file whose lock says that the directory is in use; one block with the owner's number.
  package static let lockName = "lock"

  package let path: String
  /// Whether files are read and written past the page cache; file systems without it are slower.
  package let isDirect: Bool
  private let isReadOnly: Bool
  private let directory: OpenDescriptor
  private let lock: OpenDescriptor

  /// Makes the directory (mode 0700) if it is missing, opens and locks it.
  ///
  /// - Throws: `inUse`, `notADirectory`, or what the kernel refused.
  package convenience init(path: String) throws(DirectoryFault) {
    try self.init(path, isReadOnly: false)
  }

  /// Opens and locks a directory that is there, for tools that change nothing but the lock's text.
  ///
  /// - Throws: `inUse`, `notADirectory`, or what the kernel refused: `ENOENT` of `lock` is a
  ///   directory that never was in use.
  package convenience init(readOnly path: String) throws(DirectoryFault) {
    try self.init(path, isReadOnly: true)
  }

  private init(_ path: String, isReadOnly: Bool) throws(DirectoryFault) {
    self.path = path
    self.isReadOnly = isReadOnly
    do throws(DiskError) {
      if !isReadOnly { try Self.make(path) }
      directory = try Self.openDirectory(path)
    } catch {
      throw error.code == ENOTDIR ? .notADirectory(path: path) : .system(error)
    }
    lock = try Self.lock(directory.number, of: path, isReadOnly: isReadOnly)
    isDirect = Self.takesDirect(directory.number)
  }

  deinit {
    // To close it is not enough: a child between fork and exec has it open too.
    _ = flock(lock.number, LOCK_UN)
  }

  package func list() throws(DiskError) -> [(name: String, byteCount: Int)] {
    var files: [(name: String, byteCount: Int)] = []
    for name in try names() {
      guard let status = try status(of: name, "stat"), kdn_is_regular(status.st_mode) != 0 else {
        continue
      }
      files.append((name, Int(status.st_size)))
    }
    return files
  }

  package func open(_ name: String) throws(DiskError) -> any BlockFile {
    try check(name, "open")
    // Before opening: to open a pipe would wait for somebody at its other end.
    guard let status = try status(of: name, "open") else {
      throw DiskError(call: "open", file: name, code: ENOENT)
    }
    guard kdn_is_regular(status.st_mode) != 0 else {
      let code = kdn_is_link(status.st_mode) != 0 ? ELOOP : EINVAL
      throw DiskError(call: "open", file: name, code: code)
    }
    let file = try openFile(name, flags: isReadOnly ? O_RDONLY : O_RDWR)
    var size = stat()
    guard unsafe fstat(file.number, &size) == 0 else {
      throw DiskError(call: "fstat", file: name, code: errno)
    }
    return OpenFile(file, name: name, byteCount: Int(size.st_size), in: self)
  }

  package func create(_ name: String, byteCount: Int) throws(DiskError) -> any BlockFile {
    precondition(byteCount > 0 && byteCount % diskBlockBytes == 0, "a file is whole blocks")
    try checkChange(of: name, "create")
    let made = try openFile(name, flags: O_RDWR | O_CREAT | O_EXCL)
    let file = OpenFile(made, name: name, byteCount: byteCount, in: self)
    do throws(DiskError) {
      try allocate(file)
      guard fsync(file.descriptor) == 0 else {
        throw DiskError(call: "fsync", file: name, code: errno)
      }
      try synchroniseNames()
      return file
    } catch {
      // What was made goes again; if even that fails, the first error is the one to tell.
      _ = unsafe unlinkat(directory.number, name, 0)
      try? synchroniseNames()
      throw error
    }
  }

  package func remove(_ name: String) throws(DiskError) {
    try checkChange(of: name, "unlink")
    guard unsafe unlinkat(directory.number, name, 0) == 0 else {
      let code = errno
      guard code == ENOENT else { throw DiskError(call: "unlink", file: name, code: code) }
      return
    }
    try synchroniseNames()
  }

  package func rename(_ name: String, to other: String) throws(DiskError) {
    try checkChange(of: name, "rename")
    try checkChange(of: other, "rename")
    guard unsafe renameat(directory.number, name, directory.number, other) == 0 else {
      throw DiskError(call: "rename", file: name, code: errno)
    }
    try synchroniseNames()
  }
}

// MARK: - Files and names

extension FileDirectory {
  private func openFile(_ name: String, flags: Int32) throws(DiskError) -> OpenDescriptor {
    let direct = isDirect ? kdn_o_direct() : 0
    let all = flags | direct | O_CLOEXEC | O_NOFOLLOW
    return try OpenDescriptor(unsafe openat(directory.number, name, all, 0o600), "open", name)
  }

  /// Gives all blocks of a new file to it.
  private func allocate(_ file: OpenFile) throws(DiskError) {
    while kdn_fallocate(file.descriptor, Int64(file.byteCount)) != 0 {
      switch errno {
      case EINTR: continue
      case EOPNOTSUPP, ENOSYS: return try Self.writeZeros(file)
      case let code: throw DiskError(call: "fallocate", file: file.name, code: code)
      }
    }
  }

  /// Makes a file system without fallocate give all blocks of a file.
  static func writeZeros(_ file: any BlockFile) throws(DiskError) {
    let zeros = PageBuffer(byteCount: min(file.byteCount, 1 << 20))
    for offset in stride(from: 0, to: file.byteCount, by: zeros.byteCount) {
      let count = min(zeros.byteCount, file.byteCount - offset)
      try file.write(at: offset, from: [unsafe BlockSpan(base: zeros.base, byteCount: count)])
    }
  }

  /// All names in the directory.
  private func names() throws(DiskError) -> [String] {
    // A descriptor of its own: the stream closes it and moves its position.
    let number = unsafe openat(directory.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard number >= 0 else { throw DiskError(call: "open", file: ".", code: errno) }
    guard let stream = unsafe fdopendir(number) else {
      let code = errno
      _ = close(number)
      throw DiskError(call: "fdopendir", file: ".", code: code)
    }
    defer { _ = unsafe closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(stream) else {
        let code = errno
        guard code == 0 else { throw DiskError(call: "readdir", file: ".", code: code) }
        return names
      }
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { field in
        unsafe field.withMemoryRebound(to: CChar.self, capacity: 256) {
          unsafe String(cString: $0)
        }
      }
      if name != "." && name != ".." { names.append(name) }
    }
  }

  /// What the kernel knows of a name, nil if it is not there; links are not followed.
  private func status(of name: String, _ call: String) throws(DiskError) -> stat? {
    var status = stat()
    guard unsafe fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
      let code = errno
      guard code == ENOENT else { throw DiskError(call: call, file: name, code: code) }
      return nil
    }
    return status
  }

  /// Makes all that was done to names durable.
  private func synchroniseNames() throws(DiskError) {
    guard fsync(directory.number) == 0 else {
      throw DiskError(call: "fsync", file: ".", code: errno)
    }
  }

  private func check(_ name: String, _ call: String) throws(DiskError) {
    let isPlain = !name.isEmpty && name != "." && name != ".."
    guard isPlain, !name.utf8.contains(UInt8(ascii: "/")), !name.utf8.contains(0) else {
      throw DiskError(call: call, file: name, code: EINVAL)
    }
  }

  private func checkChange(of name: String, _ call: String) throws(DiskError) {
    try check(name, call)
    // Without its file the lock would keep nobody out.
    guard !isReadOnly else { throw DiskError(call: call, file: name, code: EROFS) }
    guard name != Self.lockName else { throw DiskError(call: call, file: name, code: EPERM) }
  }
}

// MARK: - Opening

extension FileDirectory {
  /// Makes a directory and its name durable; nothing if something has that name.
  private static func make(_ path: String) throws(DiskError) {
    guard unsafe mkdir(path, 0o700) == 0 else {
      let code = errno
      guard code == EEXIST else { throw DiskError(call: "mkdir", file: path, code: code) }
      return
    }
    let parent = try openDirectory(path + "/..")
    guard fsync(parent.number) == 0 else {
      throw DiskError(call: "fsync", file: path, code: errno)
    }
  }

  private static func openDirectory(_ path: String) throws(DiskError) -> OpenDescriptor {
    try OpenDescriptor(
      unsafe Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open", path)
  }

  private static func lock(
    _ directory: Int32, of path: String, isReadOnly: Bool
  ) throws(DirectoryFault) -> OpenDescriptor {
    do throws(DiskError) {
      let lock = try openLock(directory, isReadOnly: isReadOnly)
      guard flock(lock.number, LOCK_EX | LOCK_NB) != 0 else {
        try sign(lock.number, isReadOnly: isReadOnly)
        return lock
      }
      throw DiskError(call: "flock", file: lockName, code: errno)
    } catch {
      guard error.call == "flock", error.code == EWOULDBLOCK else { throw .system(error) }
      throw .inUse(path: path, pid: owner(directory))
    }
  }

  private static func openLock(
    _ directory: Int32, isReadOnly: Bool
  ) throws(DiskError) -> OpenDescriptor {
    let flags = O_CLOEXEC | O_NOFOLLOW
    guard isReadOnly else {
      return try OpenDescriptor(
        unsafe openat(directory, lockName, flags | O_RDWR | O_CREAT, 0o600), "open", lockName)
    }
    let writable = unsafe openat(directory, lockName, flags | O_RDWR)
    guard writable < 0, [EACCES, EPERM, EROFS].contains(errno) else {
      return try OpenDescriptor(writable, "open", lockName)
    }
    let readable = unsafe openat(directory, lockName, flags | O_RDONLY)
    return try OpenDescriptor(readable, "open", lockName)
  }

  /// Writes this process's number into the lock, so that others can tell who has it.
  private static func sign(_ lock: Int32, isReadOnly: Bool) throws(DiskError) {
    var block = Array("\(getpid())\n".utf8)
    block += [UInt8](repeating: 0, count: diskBlockBytes - block.count)
    let written = unsafe pwrite(lock, block, block.count, 0)
    guard written != block.count, !isReadOnly else { return }
    throw DiskError(call: "pwrite", file: lockName, code: written < 0 ? errno : 0)
  }

  /// Which living process says that it has the lock; nil if none can be told.
  private static func owner(_ directory: Int32) -> Int32? {
    let lock = unsafe openat(directory, lockName, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard lock >= 0 else { return nil }
    defer { _ = close(lock) }
    var text = [UInt8](repeating: 0, count: 16)
    let count = unsafe pread(lock, &text, text.count, 0)
    let digits = text.prefix(max(0, count)).prefix { (0x30...0x39).contains($0) }
    guard let pid = Int32(String(decoding: digits, as: UTF8.self)), pid > 0 else { return nil }
    // A number that is nobody's is left from an owner before.
    return kill(pid, 0) == 0 || errno == EPERM ? pid : nil
  }

  private static func takesDirect(_ directory: Int32) -> Bool {
    let flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW
    let number = unsafe openat(directory, lockName, flags | kdn_o_direct())
    guard number >= 0 else { return false }
    _ = close(number)
    return true
  }
}
