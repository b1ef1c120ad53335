import KDNCore
import KDNMemory
import Testing

@testable import KDNClient

@Suite("Mapped slabs")
struct SlabViewsTests {
  @Test("are kept up to a limit; the one used longest ago goes first")
  func bounded() throws {
    var views = SlabViews(countMax: 2)
    for slabID in UInt64(1)...2 {
      let memory = try PassedMemory([], byteCount: 4096)
      views.keep(
        try SharedView(mapping: memory.descriptor, byteCount: 4096, writable: false), of: slabID)
    }
    #expect(views.find(1) != nil)
    let memory = try PassedMemory([7], byteCount: 4096)
    views.keep(try SharedView(mapping: memory.descriptor, byteCount: 4096, writable: false), of: 3)
    #expect(views.count == 2)
    #expect(views.find(2) == nil)
    #expect(views.find(1) != nil)
    #expect(views.find(3)?.bytes.first == 7)
  }
}
