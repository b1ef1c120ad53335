import Foundation
import KDNCore
import KDNTier
import Testing

@testable import KDNServer

@Suite("The list of profiles in use")
struct ProfileUseListTests {
  private func use(_ name: String, _ number: Int) throws -> ProfileUse {
    ProfileUse(namespace: try NamespaceName(name), hash: HashChain.opaque(Array("\(number)".utf8)))
  }

  private func list(_ count: Int = 3) throws -> ProfileUseList {
    ProfileUseList(serial: 7, uses: try (0..<count).map { try use("tenant-\($0 % 5)", $0) })
  }

  private func field(_ bytes: [UInt8]) -> String? {
    do {
      _ = try ProfileUseList(reading: bytes)
      return nil
    } catch {
      return error.field
    }
  }

  @Test("comes back as it was, with zeros behind it", arguments: [0, 1, 3, 1024])
  func roundTrip(count: Int) throws {
    let list = try list(count)
    let bytes = list.bytes
    #expect(bytes.count <= ProfileUseList.bytesMax)
    #expect(try ProfileUseList(reading: bytes) == list)
    #expect(try ProfileUseList(reading: bytes + [UInt8](repeating: 0, count: 500)) == list)
  }

  @Test("that is cut anywhere is refused")
  func truncated() throws {
    let bytes = try list().bytes
    for count in 0..<bytes.count { #expect(field(Array(bytes[..<count])) != nil, "\(count)") }
  }

  @Test("of which any bit is another one is refused")
  func flipped() throws {
    let bytes = try list().bytes
    for place in bytes.indices {
      for bit in 0..<8 {
        var other = bytes
        other[place] ^= 1 << bit
        #expect(field(other) != nil, "byte \(place), bit \(bit)")
      }
    }
  }

  @Test("names the field that is wrong")
  func fields() throws {
    let bytes = try list().bytes
    #expect(field([]) == "uses.length")
    #expect(field([UInt8](repeating: 0, count: 4096)) == "uses.magic")
    func changed(_ place: Int, _ value: UInt8) -> String? {
      var other = bytes
      other[place] = value
      return field(other)
    }
    #expect(changed(4, 2) == "uses.version")
    #expect(changed(6, 1) == "uses.reserved")
    #expect(changed(11, 255) == "uses.byteCount")
    #expect(changed(30, 255) == "uses.checksum")
    #expect(field(bytes + [0, 1]) == "uses.padding")
    // Sealed anew, so that the checksum is right and the content is not.
    func sealed(_ change: (inout [UInt8]) -> Void) -> String? {
      var content = Array(bytes.dropLast(8))
      change(&content)
      var writer = ByteWriter()
      writer.put(contentsOf: content)
      writer.put(Checksum(of: content).value)
      return field(writer.bytes)
    }
    let whole = sealed { _ in }
    #expect(whole == nil)
    let many = sealed { $0[14] = 1 }
    #expect(many == "uses.count")
    let fewer = sealed { $0[12] = 2 }
    #expect(fewer == "uses.length")
    let more = sealed { $0[12] = 4 }
    #expect(more == "uses.namespace")
    let long = sealed { $0[25] = 1 }
    #expect(long == "uses.namespace")
    let odd = sealed { $0[26] = UInt8(ascii: "/") }
    #expect(odd == "namespace")
  }
}

@Suite("Where the uses of profiles are kept")
struct ProfileUseStoreTests {
  private let paths: [String]
  private let name: NamespaceName

  init() throws {
    name = try NamespaceName("team")
    paths = (0..<2).map { _ in
      FileManager.default.temporaryDirectory.appending(path: "kdn-\(UUID().uuidString)").path
    }
  }

  private func with(_ count: Int, _ body: (ProfileUseStore) throws -> Void) throws {
    let directories = try paths.prefix(count).map { try FileDirectory(path: $0) }
    try body(ProfileUseStore(directories, log: .silent))
  }

  private func end() { for path in paths { try? FileManager.default.removeItem(atPath: path) } }

  private func uses(_ numbers: Int...) -> Set<ProfileUse> {
    Set(numbers.map { ProfileUse(namespace: name, hash: HashChain.opaque([UInt8($0)])) })
  }

  private func file(_ number: Int) -> URL {
    URL(fileURLWithPath: "\(paths[number])/\(DirectoryLayout.profiles)")
  }

  @Test("keeps the last list, in each directory, and nothing before there is any")
  func last() throws {
    defer { end() }
    try with(2) { store in
      #expect(store.load().uses.isEmpty && store.load().damaged == 0)
      #expect(store.save([]))
      #expect(!FileManager.default.fileExists(atPath: file(0).path))
      #expect(store.save(uses(1, 2)))
      #expect(store.save(uses(2, 3)))
    }
    for number in 0..<2 {
      #expect(try Data(contentsOf: file(number)).count == diskBlockBytes)
    }
    try with(2) { store in
      #expect(Set(store.load().uses) == uses(2, 3))
      #expect(store.save([]))
    }
    try with(2) { #expect($0.load().uses.isEmpty) }
  }

  @Test("takes the newest of two, and a whole one where the other is damaged")
  func copies() throws {
    defer { end() }
    try with(2) { store in
      _ = store.load()
      #expect(store.save(uses(1)))
    }
    // One directory was away meanwhile.
    try with(1) { store in
      #expect(Set(store.load().uses) == uses(1))
      #expect(store.save(uses(2)))
    }
    try with(2) { #expect(Set($0.load().uses) == uses(2)) }
    var bytes = try Data(contentsOf: file(0))
    bytes[30] ^= 1
    try bytes.write(to: file(0))
    try with(2) { store in
      let (found, damaged) = store.load()
      #expect(Set(found) == uses(1) && damaged == 1)
    }
    try Data().write(to: file(1))
    try with(2) { store in
      let (found, damaged) = store.load()
      #expect(found.isEmpty && damaged == 2)
      #expect(store.save(uses(3)))
    }
    try with(2) { #expect(Set($0.load().uses) == uses(3)) }
  }

  @Test("writes nothing once it is closed, or without a directory")
  func closed() throws {
    defer { end() }
    try with(1) { store in
      _ = store.load()
      store.close()
      #expect(!store.isKept && !store.save(uses(1)))
    }
    #expect(!FileManager.default.fileExists(atPath: file(0).path))
    let none = ProfileUseStore([], log: .silent)
    #expect(!none.isKept && !none.save(uses(1)))
  }
}
