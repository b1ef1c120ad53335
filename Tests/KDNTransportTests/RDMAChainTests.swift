import KDNCore
import Testing

@testable import KDNTransport

@Suite("An RDMA chain")
struct RDMAChainTests {
  private func requests(_ chain: RDMAChain) -> [RDMAChain.Request] {
    var chain = chain
    var requests: [RDMAChain.Request] = []
    while let next = chain.next() { requests.append(next) }
    return requests
  }

  @Test(
    "moves each byte once, in order, within the limits of the device",
    arguments: [1, 2, 7, 64, 1000], 1...4)
  func movesEachByteOnce(requestBytesMax: Int, piecesMax: Int) {
    let pieces = [5, 0, 1, 64, 63, 65, 0, 0, 128, 1, 1, 1, 1, 1, 1000, 3, 0]
    let chain = RDMAChain(
      pieces: pieces, requestBytesMax: requestBytesMax, piecesMax: piecesMax)
    var remote = 0
    var local: [(piece: Int, offset: Int)] = []
    for request in requests(chain) {
      #expect(request.remoteOffset == remote)
      #expect((1...requestBytesMax).contains(request.byteCount))
      #expect((1...piecesMax).contains(request.parts.count))
      #expect(request.parts.allSatisfy { $0.byteCount > 0 })
      remote += request.byteCount
      for part in request.parts {
        local += (part.offset..<part.offset + part.byteCount).map { (part.piece, $0) }
      }
    }
    let wanted = pieces.enumerated().flatMap { index, count in (0..<count).map { (index, $0) } }
    #expect(remote == pieces.reduce(0, +))
    #expect(local.elementsEqual(wanted, by: ==))
  }

  @Test("needs no more requests than the limits ask for")
  func needsNoMoreThanItMust() {
    let whole = RDMAChain(pieces: [8 << 20], requestBytesMax: 8 << 20, piecesMax: 1)
    #expect(requests(whole).count == 1)
    let split = RDMAChain(pieces: [(8 << 20) + 1], requestBytesMax: 8 << 20, piecesMax: 1)
    #expect(requests(split).map(\.byteCount) == [8 << 20, 1])
    let gathered = RDMAChain(pieces: [10, 20, 30, 40], requestBytesMax: 100, piecesMax: 4)
    #expect(requests(gathered).count == 1)
  }

  @Test("never asks for more than a gibibyte at once, whatever the device promises")
  func staysBelowTheCap() {
    let chain = RDMAChain(pieces: [5 << 30], requestBytesMax: Int(UInt32.max), piecesMax: 4)
    #expect(requests(chain).map(\.byteCount) == Array(repeating: 1 << 30, count: 5))
  }

  @Test("of nothing is done at once", arguments: [[], [0], [0, 0, 0]])
  func ofNothingIsDone(pieces: [Int]) {
    let chain = RDMAChain(pieces: pieces, requestBytesMax: 10, piecesMax: 1)
    #expect(chain.isDone)
    #expect(requests(chain).isEmpty)
  }

  @Test("fits only where the remote bytes do not wrap")
  func fitsWithoutWrapping() {
    #expect(RDMAChain.fits(address: .max - 10, byteCount: 10))
    #expect(!RDMAChain.fits(address: .max - 10, byteCount: 11))
    #expect(!RDMAChain.fits(address: .max, byteCount: .max))
    #expect(RDMAChain.fits(address: .max, byteCount: 0))
  }
}

@Suite("RDMA devices")
struct RDMADeviceTests {
  @Test("are sorted by their distance, equally near ones in their order")
  func areSortedByDistance() {
    let devices = [
      RDMADevice.placed("a", at: 1), .placed("b", at: 0), .placed("c", at: nil),
      .placed("d", at: 0),
    ]
    let names = { (node: Int?) in RDMADevice.sortedByDistance(devices, from: node).map(\.name) }
    #expect(names(0) == ["b", "d", "c", "a"])
    #expect(names(1) == ["a", "c", "b", "d"])
    #expect(names(nil) == ["a", "b", "c", "d"])
  }

  @Test(
    "have the addresses of their GIDs",
    arguments: [
      ("0000:0000:0000:0000:0000:ffff:0a4d:0001", "10.77.0.1"),
      ("2001:0db8:0000:0000:0000:0000:0000:0007", "2001:db8:0:0:0:0:0:7"),
      ("fe80:0000:0000:0000:5054:00ff:fe12:3456", nil),
      ("0000:0000:0000:0000:0000:0000:0000:0000", nil),
      ("0000:0000:0000:0000:0000:ffff:0000", nil), ("", nil),
    ] as [(String, String?)])
  func haveAddresses(gid: String, address: String?) {
    #expect(RDMADevice.address(ofGID: gid) == address)
  }

  @Test("are found, or one typed reason is given, and nothing else breaks")
  func areFoundOrNot() {
    let nowhere = Endpoint.tcp(host: "192.0.2.1", port: 9)
    switch RDMADevice.discover() {
    case .success(let devices): #expect(!devices.isEmpty)
    case .failure(let fault):
      #expect(fault.isUnavailable)
      let second = SystemClock().now().advanced(milliseconds: 1000)
      #expect(RDMADialler.hasRoute(to: nowhere, deadline: second)?.isUnavailable == true)
      let listening = Result { () throws(RDMAFault) -> RDMAListener in
        try RDMAListener(
          nowhere, devices: RDMADevices(), accepted: { _, _ in }, troubled: { _, _ in })
      }
      guard case .failure(let reason) = listening else {
        Issue.record("it listens without a device")
        return
      }
      #expect(reason.isUnavailable)
    }
  }
}
