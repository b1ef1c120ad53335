import KDNCore
import KDNMemory
import KDNWire
import Testing

@testable import KDNServer

@Suite("The limit of open files")
struct DescriptorLimitTests: ServerTesting {
  @Test(
    "is for connections first, then for windows; never more windows than connections",
    arguments: [
      (files: 1000, reserved: 200, connections: 100, expected: (100, 100)),
      (512, 160, 352, (352, 0)), (512, 160, 300, (300, 52)), (100, 160, 50, (1, 0)),
      (512, 160, 4096, (352, 0)),
    ] as [(Int, Int, Int, (Int, Int))])
  func room(files: Int, reserved: Int, connections: Int, expected: (Int, Int)) {
    let room = DescriptorLimit.Room(files: files, reserved: reserved, connections: connections)
    #expect((room.connections, room.windows) == expected)
    #expect(room.connections == 1 || room.connections + room.windows + reserved <= files)
  }

  @Test("leaves no more windows open than there may be, and is busy for more")
  func windows() throws {
    let fixture = try SharedMemoryFixture()
    let settings = fixture.server.context.settings
    var values = settings.values
    #expect(values.windowsMax == values.connectionsMax, "the tests' limit is high enough")
    values.windowsMax = 2
    settings.replace(values)
    var holders = try (0..<2).map { _ in
      let client = try fixture.client()
      _ = try client.window(4096, id: 2)
      return client
    }
    let late = try fixture.client()
    let request = Request.openWindow(OpenWindowRequest(byteCount: 4096))
    #expect(try late.status(request, id: 2) == .busy)
    holders.removeLast()
    while fixture.server.context.sharedMemory.report.windows > 1 {}
    #expect(try late.window(4096, id: 3).byteCount == 4096)
    withExtendedLifetime((fixture, holders)) {}
  }
}
