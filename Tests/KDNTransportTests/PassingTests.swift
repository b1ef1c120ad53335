import FoundationEssentials
import Glibc
import KDNMemory
import Testing

@testable import KDNTransport

@Suite("A link that passes descriptors")
struct PassingTests {
  private let pair: SocketPair
  private let link: Link

  init() throws {
    pair = try SocketPair()
    link = Link(owning: dup(pair.first))
  }

  /// The reading end of a pipe that holds one byte, to be told by it.
  private func marked(_ byte: UInt8) throws -> Int32 {
    var numbers: [Int32] = [0, 0]
    try #require(pipe(&numbers) == 0)
    _ = write(numbers[1], [byte], 1)
    close(numbers[1])
    return numbers[0]
  }

  /// The byte that tells a descriptor; closes it.
  private func mark(_ number: Int32?) -> UInt8? {
    guard let number else { return nil }
    defer { close(number) }
    var byte: UInt8 = 0
    return read(number, &byte, 1) == 1 ? byte : nil
  }

  private func receive(_ passed: inout PassedDescriptors, limit: Int = 1 << 20) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: limit)
    let count = buffer.withUnsafeMutableBytes { passed.receive(from: pair.second, into: $0) }
    return Array(buffer.prefix(max(0, count)))
  }

  @Test("sends one with the first byte of its message, and closes its own")
  func passesOne() throws {
    var files = OpenFiles()
    let number = try marked(7)
    files.remember(number)
    link.send([1, 2, 3], passing: number)
    #expect(link.queuedDescriptors == 1)
    #expect(link.queuedBytes == 3)
    #expect(link.flush())
    #expect(link.queuedDescriptors == 1, "the other side has not read it")
    #expect(link.queuedBytes == 0)
    // What is on its way has no number here.
    #expect(files.count == 0)
    var passed = PassedDescriptors()
    let bytes = receive(&passed)
    #expect(bytes == [1, 2, 3])
    #expect(link.queuedDescriptors == 0)
    let waiting = passed.count
    #expect(waiting == 1)
    let next = passed.next()
    let received = try #require(next)
    #expect(fcntl(received, F_GETFD) & FD_CLOEXEC != 0)
    #expect(mark(received) == 7)
    let last = passed.next()
    #expect(last == nil)
  }

  @Test("keeps them in the order of their messages, among urgent and ordinary ones")
  func keepsOrder() throws {
    link.send([10], isUrgent: false)
    link.send([1], isUrgent: true)
    link.send([2, 2], passing: try marked(2))
    link.send([3], passing: try marked(3))
    link.send([4], isUrgent: true)
    link.send([5, 5, 5], passing: try marked(5))
    link.send([11], isUrgent: false)
    #expect(link.queuedDescriptors == 3)
    #expect(link.flush())
    #expect(link.queuedBytes == 0)
    var passed = PassedDescriptors()
    var bytes: [UInt8] = []
    var marks: [UInt8?] = []
    // With each read at most the descriptors that its bytes carry.
    while bytes.count < 10 {
      let more = receive(&passed)
      try #require(!more.isEmpty)
      bytes += more
      while let number = passed.next() { marks.append(mark(number)) }
    }
    #expect(bytes == [1, 2, 2, 3, 4, 5, 5, 5, 10, 11])
    #expect(marks == [2, 3, 5])
  }

  @Test("never puts one into the middle of a message that has begun")
  func messagesAreWhole() throws {
    let arena = try Arena.forTests()
    let size = 8 << 20
    let block = try makeBlock(9, count: size, in: arena)
    link.beginMessage([9])
    link.sendBorrowed(UnsafeRawBufferPointer(start: block.base, count: size), endsMessage: true)
    link.keep(block.lease())
    #expect(link.flush())
    #expect(link.queuedBytes > 0, "the socket buffer took everything: the test needs more bytes")
    link.send([8], passing: try marked(8))
    var passed = PassedDescriptors()
    var count = 0
    var last: UInt8 = 0
    while count < size + 2 {
      let more = receive(&passed)
      count += more.count
      if let byte = more.last { last = byte }
      let waiting = passed.count
      if count <= size { #expect(waiting == 0) }
      #expect(link.flush())
    }
    #expect(last == 8)
    let number = passed.next()
    #expect(mark(number) == 8)
    #expect(!block.isLeased)
  }

  @Test("sends each once though the socket takes its message in pieces")
  func survivesPartialWrites() throws {
    pair.shrinkBuffers()
    let messages = (1...6).map { [UInt8](repeating: UInt8($0), count: 200_000) }
    for message in messages { link.send(message, passing: try marked(message[0])) }
    var passed = PassedDescriptors()
    var bytes: [UInt8] = []
    var marks: [UInt8?] = []
    var wasStalled = false
    while bytes.count < 1_200_000 {
      #expect(link.flush())
      wasStalled = wasStalled || link.queuedBytes > 0
      bytes += receive(&passed, limit: 50_000)
      while let number = passed.next() { marks.append(mark(number)) }
    }
    #expect(wasStalled)
    #expect(bytes == messages.flatMap { $0 })
    #expect(marks == [1, 2, 3, 4, 5, 6])
  }

  @Test("closes those that were never sent")
  func closesTheUnsent() throws {
    var files = OpenFiles()
    let number = try marked(1)
    files.remember(number)
    do {
      let other = Link(owning: dup(pair.second))
      other.send([1], passing: number)
      #expect(files.count == 1)
    }
    #expect(files.count == 0)
  }

  @Test("refuses more than it was told to expect, and closes all of them")
  func refusesTooMany() throws {
    var files = OpenFiles()
    for byte: UInt8 in 1...3 {
      let number = try marked(byte)
      if byte == 3 { files.remember(number) }
      link.send([byte], passing: number)
    }
    #expect(link.flush())
    var passed = PassedDescriptors(limit: 2)
    let bytes = [receive(&passed, limit: 1), receive(&passed, limit: 1)]
    #expect(bytes == [[1], [2]])
    var byte: UInt8 = 0
    let count = withUnsafeMutableBytes(of: &byte) { passed.receive(from: pair.second, into: $0) }
    let code = errno
    #expect(count == -1)
    #expect(code == EPROTO)
    #expect(files.count == 0)
    let numbers = [passed.next(), passed.next(), passed.next()]
    #expect(numbers.map(mark) == [1, 2, nil])
  }

  @Test("leaves no descriptor open, taken or not")
  func leaksNothing() throws {
    var files = OpenFiles()
    for _ in 0..<20 {
      let pair = try SocketPair()
      let link = Link(owning: dup(pair.first))
      var passed = PassedDescriptors()
      for byte: UInt8 in 1...5 {
        let number = try marked(byte)
        files.remember(number)
        link.send([byte], passing: number)
        // The last one stays in the queue.
        if byte < 5 { #expect(link.flush()) }
      }
      #expect(files.count > 0)
      var buffer: [UInt8] = [0, 0]
      for _ in 0..<2 {
        _ = buffer.withUnsafeMutableBytes { passed.receive(from: pair.second, into: $0) }
      }
      _ = mark(passed.next())
    }
    #expect(files.count == 0)
  }

  @Test("waits, unbroken, while what others leave unread is all that the kernel lets be passed")
  func survivesCrowds() async {
    await #expect(processExitsWith: .success) {
      // Nobody, with leave for few: the super-user is let pass any number.
      if getuid() == 0 { guard setuid(65534) == 0 else { _exit(2) } }
      var limit = rlimit(rlim_cur: 64, rlim_max: 64)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      let crowd = try SocketPair()
      let hog = Link(owning: dup(crowd.first))
      for _ in 0..<200 {
        hog.send([1], passing: dup(crowd.second))
        guard hog.flush() else { _exit(3) }
        if hog.isShortOfDescriptors { break }
      }
      guard hog.isShortOfDescriptors, !hog.wantsToWrite, hog.queuedDescriptors > 60 else {
        _exit(4)
      }
      let pair = try SocketPair()
      let victim = Link(owning: dup(pair.first))
      victim.send([7, 8], passing: dup(pair.second))
      guard victim.flush(), victim.isShortOfDescriptors, victim.queuedBytes == 2 else { _exit(5) }
      var passed = PassedDescriptors()
      var buffer = [UInt8](repeating: 0, count: 1)
      for _ in 0..<8 {
        _ = buffer.withUnsafeMutableBytes { passed.receive(from: crowd.second, into: $0) }
        _ = passed.next().map { close($0) }
      }
      guard victim.flush(), !victim.isShortOfDescriptors, victim.queuedBytes == 0 else { _exit(6) }
      _exit(0)
    }
  }

  @Test("says who made the other end of a Unix socket, and of no other")
  func knowsItsPeer() throws {
    let credentials = try #require(link.peerCredentials)
    #expect(credentials == PeerCredentials(pid: getpid(), uid: getuid(), gid: getgid()))
    let internet = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #expect(Link(owning: internet).peerCredentials == nil)
  }
}

/// Somebody who looks whether this process has a file open still.
///
/// Its number tells nothing: tests that run beside this one get numbers as soon as they are free.
private struct OpenFiles {
  private var files: Set<UInt64> = []

  /// Remembers what is behind `number`.
  mutating func remember(_ number: Int32) {
    var status = stat()
    if fstat(number, &status) == 0 { files.insert(UInt64(status.st_ino)) }
  }

  /// How many descriptors lead to what was remembered.
  var count: Int {
    let numbers = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    return numbers.compactMap { Int32($0) }.count { number in
      var status = stat()
      return fstat(number, &status) == 0 && status.st_mode & S_IFMT == S_IFIFO
        && files.contains(UInt64(status.st_ino))
    }
  }
}
