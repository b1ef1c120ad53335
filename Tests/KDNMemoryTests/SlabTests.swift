import Glibc
import Testing

@testable import KDNMemory

@Suite("A sealed slab")
struct SlabTests {
  private static let byteCount = 2 << 20

  private func makeSlab(huge: Bool = false) throws -> Slab {
    try Slab(
      byteCount: Self.byteCount, wantsHuge: huge, wantsLock: false, node: nil,
      stranded: StrandedMemory())
  }

  @Test("has a number that no other slab ever has")
  func numbersAreUnique() throws {
    var numbers: Set<UInt64> = []
    for _ in 0..<20 { numbers.insert(try makeSlab().id) }
    #expect(numbers.count == 20)
    #expect(!numbers.contains(0))
  }

  @Test("refuses every way to write through the descriptor that clients get")
  func passedDescriptorsOnlyRead() throws {
    let slab = try makeSlab()
    #expect(slab.isSealed)
    slab.base.storeBytes(of: 7, as: UInt8.self)
    let number = try #require(slab.openForReading())
    defer { close(number) }
    #expect(fcntl(number, F_GETFL) & O_ACCMODE == O_RDONLY)
    #expect(fcntl(number, F_GETFD) & FD_CLOEXEC != 0)
    #expect(Intruder(number).waysIn(byteCount: Self.byteCount) == [])
    #expect(slab.base.load(as: UInt8.self) == 7)
  }

  @Test("is told by its seals alone: a memfd without them lets the intruder in")
  func intrudersGetIntoOthers() throws {
    let number = GNU.memfd()
    try #require(number >= 0 && ftruncate(number, Self.byteCount) == 0)
    defer { close(number) }
    let ways = Intruder(number).waysIn(byteCount: Self.byteCount)
    #expect(
      ways == [
        "pwrite", "write", "sendfile", "splice", "ftruncate shorter", "ftruncate longer",
        "fallocate longer", "fallocate punch", "mmap", "mprotect", "madvise",
        "F_ADD_SEALS",
      ])
  }

  /// With reserved huge pages too, where the machine has any.
  @Test(
    "refuses every way to write through a descriptor reopened with all rights",
    arguments: [false, true])
  func reopenedDescriptorsOnlyRead(huge: Bool) throws {
    let slab = try makeSlab(huge: huge)
    slab.base.storeBytes(of: 7, as: UInt8.self)
    let passed = try #require(slab.openForReading())
    defer { close(passed) }
    // Whoever runs as the daemon's user can give itself the permission.
    #expect(fchmod(passed, 0o600) == 0)
    let number = open("/proc/self/fd/\(passed)", O_RDWR)
    try #require(number >= 0)
    defer { close(number) }
    #expect(Intruder(number).waysIn(byteCount: Self.byteCount) == [])
    #expect(slab.base.load(as: UInt8.self) == 7)
    #expect(slab.base.load(fromByteOffset: Self.byteCount - 1, as: UInt8.self) == 0)
  }

  @Test("refuses them to another process that opens the slab where this one has it")
  func otherProcessesOnlyRead() async throws {
    let slab = try makeSlab()
    slab.base.storeBytes(of: 7, as: UInt8.self)
    let number = try #require(slab.openForReading())
    defer { close(number) }
    let owner = getpid()
    await #expect(processExitsWith: .success) {
      [owner = owner as pid_t, number = number as Int32] in
      let path = "/proc/\(owner)/fd/\(number)"
      let reading = open(path, O_RDONLY)
      var byte: UInt8 = 0
      guard pread(reading, &byte, 1, 0) == 1, byte == 7, fchmod(reading, 0o600) == 0 else {
        _exit(2)
      }
      let writing = open(path, O_RDWR)
      guard writing >= 0 else { _exit(3) }
      let waysIn = Intruder(writing).waysIn(byteCount: 2 << 20)
      guard waysIn.isEmpty, Intruder(reading).waysIn(byteCount: 2 << 20).isEmpty else {
        _exit(4)
      }
      _exit(0)
    }
    #expect(slab.base.load(as: UInt8.self) == 7)
  }

  @Test("cannot be opened by users other than its own")
  func othersCannotOpen() throws {
    let slab = try makeSlab()
    let number = try #require(slab.openForReading())
    defer { close(number) }
    var status = stat()
    #expect(fstat(number, &status) == 0)
    #expect(status.st_mode & 0o777 == 0o400)
  }

  @Test(
    "stays writable for its owner, with what clients have mapped following",
    arguments: [false, true])
  func ownerWrites(huge: Bool) throws {
    let slab = try makeSlab(huge: huge)
    let view = try SharedView(
      mapping: #require(slab.openForReading()), byteCount: Self.byteCount, writable: false)
    slab.prefault()
    for offset in stride(from: 0, to: Self.byteCount, by: 4096) {
      slab.base.storeBytes(of: UInt8(offset >> 12 & 255), toByteOffset: offset, as: UInt8.self)
    }
    let seen = withExtendedLifetime(view) { Array(view.bytes) }
    #expect(
      stride(from: 0, to: Self.byteCount, by: 4096).allSatisfy {
        seen[$0] == UInt8($0 >> 12 & 255)
      })
  }

  @Test("is mapped by nobody who was given a file that could shrink under the mapping")
  func viewsWantFixedSize() throws {
    let number = GNU.memfd()
    try #require(number >= 0)
    defer { close(number) }
    #expect(ftruncate(number, 4096) == 0)
    #expect(throws: ArenaError.system(call: "fstat", code: EPROTO, bytes: 4096)) {
      try SharedView(mapping: dup(number), byteCount: 4096, writable: false)
    }
  }

  @Test("keeps one companion of each owner, made once")
  func companionsAreMadeOnce() throws {
    let slab = try makeSlab()
    let owners = [Witness(), Witness()]
    var made = 0
    let first = owners.map { owner in
      slab.companion(of: ObjectIdentifier(owner)) { () -> Witness? in
        made += 1
        return Witness()
      }
    }
    let again = owners.map { slab.companion(of: ObjectIdentifier($0)) { Witness() } }
    #expect(made == 2)
    #expect(first[0] !== first[1])
    #expect(zip(first, again).allSatisfy { $0 === $1 })
    #expect(slab.companion(of: ObjectIdentifier(slab)) { () -> Witness? in nil } == nil)
  }

  @Test("drops its companions before its memory goes, and an owner's when told")
  func companionsGoFirst() throws {
    let record = Record()
    let owner = Witness()
    do {
      let slab = try makeSlab()
      slab.base.storeBytes(of: 9, as: UInt8.self)
      _ = slab.companion(of: ObjectIdentifier(owner)) {
        LastReader(base: slab.base, record: record)
      }
      _ = slab.companion(of: ObjectIdentifier(record)) {
        LastReader(base: slab.base, record: record)
      }
      slab.dropCompanions(of: ObjectIdentifier(owner))
      #expect(record.read == [9])
      slab.base.storeBytes(of: 10, as: UInt8.self)
    }
    // The last one read the slab as it was at its end: unmapped, that would have been a fault.
    #expect(record.read == [9, 10])
  }

  @Test("leaves no descriptor and no mapping behind")
  func leaksNothing() throws {
    var leftovers = Leftovers()
    for _ in 0..<10 {
      let slab = try makeSlab()
      let number = try #require(slab.openForReading())
      try leftovers.watch(number)
      // The slab's own and the reader's.
      #expect(try leftovers.descriptors() == 2 && leftovers.mappings() >= 1)
      _ = try SharedView(mapping: number, byteCount: Self.byteCount, writable: false)
      #expect(throws: ArenaError.self) {
        let number = try #require(slab.openForReading())
        _ = try SharedView(mapping: number, byteCount: Self.byteCount + 4096, writable: false)
      }
    }
    #expect(try leftovers.descriptors() == 0)
    #expect(try leftovers.mappings() == 0)
  }
}

private final class Witness: Sendable {}

// Safe because: one test has it to itself.
private final class Record: @unchecked Sendable {
  var read: [UInt8] = []
}

/// Reads the first byte of a slab as its own life ends.
// Safe because: one test has it to itself.
private final class LastReader: @unchecked Sendable {
  private let base: UnsafeMutableRawPointer
  private let record: Record

  init(base: UnsafeMutableRawPointer, record: Record) {
    self.base = base
    self.record = record
  }

  deinit { record.read.append(base.load(as: UInt8.self)) }
}
