import KDNTransport
import Testing

@testable import KDNServer

@Suite("What is offered to clients of the fabric")
struct OfferTests {
  private static let near = ["10.0.0.1", "fe::1", "10.0.0.2"]

  @Test(
    "is near devices first, and every address where all are listened on",
    arguments: [
      (["10.0.0.2", "10.0.0.1"], ["10.0.0.1", "10.0.0.2"]),
      (["10.9.9.9", "10.0.0.2"], ["10.0.0.2", "10.9.9.9"]),
      (["0.0.0.0"], ["10.0.0.1", "10.0.0.2"]),
      (["::"], ["10.0.0.1", "fe::1", "10.0.0.2"]),
      (["10.0.0.2", "0.0.0.0"], ["10.0.0.1", "10.0.0.2", "10.0.0.2"]),
      ([], []),
    ])
  func order(bound: [String], told: [String]) {
    let offered = RDMAService.offered(
      bound.map { .tcp(host: $0, port: 4791) }, addresses: Self.near)
    #expect(offered == told.map { .tcp(host: $0, port: 4791) })
  }

  @Test(
    "knows the processor from the kernel's line, whatever the process is called",
    arguments: [
      ("12 (kdnd) S \(fields(35)) 7 0 0", 7), ("12 (a ) 3 (b) R \(fields(35)) 15", 15),
      ("12 (kdnd) S \(fields(20))", nil), ("", nil),
    ])
  func processor(line: String, number: Int?) {
    #expect(NearNode.processor(inStat: line) == number)
  }

  private static func fields(_ count: Int) -> String {
    (0..<count).map { "\($0)" }.joined(separator: " ")
  }
}
