import Glibc

/// Somebody who holds a descriptor of a slab and tries everything to change what is in it.
struct Intruder {
  private let number: Int32

  init(_ number: Int32) { self.number = number }

  /// The names of the ways in which it got through.
  func waysIn(byteCount: Int) -> [String] {
    var ways = writes() + resizes(byteCount: byteCount) + mappings(byteCount: byteCount)
    // A seal that could be added could be one that stops the owner; F_ADD_SEALS is 1033.
    if fcntl(number, 1033, 1) == 0 { ways.append("F_ADD_SEALS") }
    return ways
  }

  private func writes() -> [String] {
    var ways: [String] = []
    var bytes: [UInt8] = [1, 2, 3]
    if pwrite(number, &bytes, 3, 0) > 0 { ways.append("pwrite") }
    if write(number, &bytes, 3) > 0 { ways.append("write") }
    let zeros = open("/dev/zero", O_RDONLY)
    defer { close(zeros) }
    var pipes: [Int32] = [0, 0]
    guard pipe(&pipes) == 0 else { return ["no pipe"] }
    defer {
      close(pipes[0])
      close(pipes[1])
    }
    _ = write(pipes[1], &bytes, 3)
    if sendfile(number, zeros, nil, 3) > 0 { ways.append("sendfile") }
    if GNU.splice(pipes[0], number, 3) > 0 { ways.append("splice") }
    return ways
  }

  private func resizes(byteCount: Int) -> [String] {
    var ways: [String] = []
    if ftruncate(number, 0) == 0 { ways.append("ftruncate shorter") }
    if ftruncate(number, byteCount * 2) == 0 { ways.append("ftruncate longer") }
    if GNU.fallocate(number, 0, byteCount, 4096) == 0 { ways.append("fallocate longer") }
    // FALLOC_FL_PUNCH_HOLE with FALLOC_FL_KEEP_SIZE; zero range; collapse range.
    for (mode, name) in [(3, "punch"), (16, "zero"), (8, "collapse")]
    where GNU.fallocate(number, Int32(mode), 0, 4096) == 0 {
      ways.append("fallocate \(name)")
    }
    return ways
  }

  private func mappings(byteCount: Int) -> [String] {
    var ways: [String] = []
    let both = PROT_READ | PROT_WRITE
    if let place = mmap(nil, byteCount, both, MAP_SHARED, number, 0), place != MAP_FAILED {
      ways.append("mmap")
      munmap(place, byteCount)
    }
    guard let place = mmap(nil, byteCount, PROT_READ, MAP_SHARED, number, 0), place != MAP_FAILED
    else { return ways + ["no mapping at all"] }
    defer { munmap(place, byteCount) }
    if mprotect(place, byteCount, both) == 0 { ways.append("mprotect") }
    // MADV_REMOVE punches holes through a mapping.
    if madvise(place, 4096, 9) == 0 { ways.append("madvise") }
    // A private copy may be written: it must stay private.
    guard let copy = mmap(nil, byteCount, both, MAP_PRIVATE, number, 0), copy != MAP_FAILED
    else { return ways }
    defer { munmap(copy, byteCount) }
    let before = place.load(as: UInt8.self)
    copy.storeBytes(of: before &+ 1, as: UInt8.self)
    if place.load(as: UInt8.self) != before { ways.append("private mapping") }
    return ways
  }
}

/// GNU calls that Swift's Glibc module does not import.
enum GNU {
  private typealias Fallocate = @convention(c) (Int32, Int32, Int, Int) -> Int32
  private typealias Splice =
    @convention(c) (Int32, UnsafeMutableRawPointer?, Int32, UnsafeMutableRawPointer?, Int, UInt32)
    -> Int
  private typealias MemfdCreate = @convention(c) (UnsafePointer<CChar>, UInt32) -> Int32

  static func fallocate(_ number: Int32, _ mode: Int32, _ offset: Int, _ count: Int) -> Int32 {
    unsafeBitCast(dlsym(nil, "fallocate"), to: Fallocate.self)(number, mode, offset, count)
  }

  static func splice(_ from: Int32, _ to: Int32, _ count: Int) -> Int {
    unsafeBitCast(dlsym(nil, "splice"), to: Splice.self)(from, nil, to, nil, count, 0)
  }

  /// A memfd that can be sealed and is not.
  static func memfd() -> Int32 {
    unsafeBitCast(dlsym(nil, "memfd_create"), to: MemfdCreate.self)("test", 3)
  }
}

/// Files of this process by their inode: other tests hold memfds of the same name at the same time.
struct Leftovers {
  struct Unreadable: Error {}

  private struct Inode: Hashable {
    let device: UInt
    let number: UInt
  }

  private var inodes: Set<Inode> = []

  /// Counts the file of a descriptor from now on.
  mutating func watch(_ number: Int32) throws {
    inodes.insert(try Self.inode { fstat(number, &$0) })
  }

  /// Descriptors of the watched files.
  func descriptors() throws -> Int {
    guard let folder = opendir("/proc/self/fd") else { throw Unreadable() }
    defer { closedir(folder) }
    var count = 0
    while let entry = readdir(folder) {
      let number = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      // What somebody closes meanwhile was not one of ours.
      let inode = try? Self.inode { stat("/proc/self/fd/\(number)", &$0) }
      if let inode, inodes.contains(inode) { count += 1 }
    }
    return count
  }

  /// Mappings of the watched files: a line is range, rights, offset, device, inode, name.
  func mappings() throws -> Int {
    let file = open("/proc/self/maps", O_RDONLY)
    guard file >= 0 else { throw Unreadable() }
    defer { close(file) }
    // The device of all memfds is one.
    let numbers = Set(inodes.map { Substring(String($0.number)) })
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(file, &buffer, buffer.count)
      guard count > 0 else { break }
      text += buffer.prefix(count)
    }
    return String(decoding: text, as: UTF8.self).split(separator: "\n").count { line in
      guard line.contains("memfd:") else { return false }
      let words = line.split(separator: " ")
      return words.count > 4 && numbers.contains(words[4])
    }
  }

  private static func inode(_ call: (inout stat) -> Int32) throws -> Inode {
    var facts = stat()
    guard call(&facts) == 0 else { throw Unreadable() }
    return Inode(device: UInt(facts.st_dev), number: UInt(facts.st_ino))
  }
}
