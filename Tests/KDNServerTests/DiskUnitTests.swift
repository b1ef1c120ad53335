import KDNCore
import Testing

@testable import KDNServer

@Suite("The disk tier's share of memory")
struct DiskMemoryTests {
  private func memory(_ flags: [String: [String]], ram: Int) throws -> DiskMemory {
    DiskMemory(try ServerConfiguration(flags: flags).disk, memoryBytes: ram)
  }

  @Test("is nothing without a disk")
  func none() throws {
    let memory = try memory([:], ram: 1 << 30)
    #expect(memory.stagingBytes == 0 && memory.tierBytes == 0)
  }

  @Test(
    "stays below half of ram however large the disks are",
    arguments: [16 << 20, 64 << 20, 1 << 30, 64 << 30])
  func bounded(ram: Int) throws {
    let memory = try memory(["disk": ["/a:100TiB", "/b:100TiB"]], ram: ram)
    #expect(memory.stagingBytes <= ram / 8)
    #expect(memory.objectsMax * DiskMemory.bytesPerObject <= ram / 8)
    #expect(memory.stagingBytes + memory.tierBytes <= ram / 2)
  }

  @Test("gives the index room for objects of 768 KiB on average")
  func index() throws {
    let memory = try memory(["disk": ["/a:200GiB"]], ram: 64 << 30)
    #expect(memory.objectsMax >= (200 << 30) / (768 << 10))
    #expect(memory.stagingBytes == 64 << 20)
  }
}

@Suite("The log of a recovery")
struct ProgressThrottleTests {
  @Test("tells each directory's progress at most once a second, the first at once")
  func throttles() {
    let start = Instant(nanoseconds: 1_000_000_000)
    var throttle = ProgressThrottle()
    let told = [("/a", 0), ("/a", 999), ("/b", 999), ("/a", 1000), ("/a", 1001)].map {
      throttle.admits($0, now: start.advanced(milliseconds: $1))
    }
    #expect(told == [true, false, true, true, false])
  }
}

@Suite("The read rate")
struct ReadRateTests {
  @Test("is unknown until a request has read enough to tell")
  func unknown() {
    var rate = ReadRate()
    rate.note(ReadRate.bytesMin - 1, nanoseconds: 1000)
    rate.note(ReadRate.bytesMin, nanoseconds: 0)
    #expect(rate.microseconds(for: 1 << 20) == nil)
  }

  @Test("is bytes over time, newer requests weighing a quarter")
  func measures() {
    var rate = ReadRate()
    rate.note(1 << 20, nanoseconds: 1_000_000)
    #expect(rate.microseconds(for: 2 << 20) == 2000)
    rate.note(4 << 20, nanoseconds: 800_000)
    #expect(rate.microseconds(for: 2 << 20) == 1000)
  }
}
