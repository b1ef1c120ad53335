import CKDN
import Glibc
import KDNCore
import KDNWire
import Testing

@testable import KDNClient
@testable import KDNLibrary

@Suite("A failure of libkdn")
struct FailureTests {
  private var text: String { kdn_error_text().map { String(cString: $0) } ?? "NULL" }

  @Test(
    "has a code of its own for each way in which a request ends",
    arguments: [
      (ClientError.cannotConnect("x"), KDN_CANNOT_CONNECT),
      (.refused(.busy, ErrorBody(FieldFault("f", value: 1, limit: 0, "p"))), KDN_REFUSED),
      (.goAway(.draining, ErrorBody(FieldFault("f", value: 1, limit: 0, "p"))), KDN_WENT_AWAY),
      (.lost("x"), KDN_LOST), (.deadline, KDN_DEADLINE),
      (.unsendable(FieldFault("f", value: 1, limit: 0, "p")), KDN_UNSENDABLE),
    ])
  func codes(error: ClientError, code: kdn_status) {
    #expect(Failure(error).record() == code.rawValue)
    #expect(text == "\(error)")
    let status: UInt32 =
      switch error {
      case .refused: 4
      case .goAway: 9
      default: 0
      }
    #expect(kdn_error_server_status() == status)
  }

  @Test("names the field at fault, what it held and what it may hold")
  func fields() {
    let fault = FieldFault("hashCount", value: 9, limit: 4, "too many")
    for failure in [
      Failure(ClientError.refused(.badRequest, ErrorBody(fault))), Failure(.unsendable(fault)),
      Failure(fault),
    ] {
      _ = failure.record()
      #expect(kdn_error_field().map { String(cString: $0) } == "hashCount")
      #expect(kdn_error_message().map { String(cString: $0) } == "too many")
      #expect([kdn_error_value(), kdn_error_limit()] == [9, 4])
      _ = Failure(ClientError.deadline).record()
      #expect(kdn_error_field().map { String(cString: $0) } == "")
      #expect([kdn_error_value(), kdn_error_limit()] == [0, 0])
    }
  }

  @Test("keeps whole characters of a text that is too long")
  func cutsText() {
    let code = Failure.invalid(String(repeating: "ä", count: 2000)).record()
    #expect(code == KDN_INVALID.rawValue)
    #expect(text == String(repeating: "ä", count: 511))
  }

  @Test("ends its text at no zero of the server's")
  func keepsZeros() {
    _ = Failure.invalid("a\0b").record()
    #expect(text == "a b")
  }

  @Test("forgets what the one before it said of the server")
  func startsAnew() {
    let refusal = ErrorBody(FieldFault("f", value: 1, limit: 0, "p"), retryAfterMilliseconds: 70)
    _ = Failure(ClientError.refused(.busy, refusal)).record()
    #expect(kdn_error_retry_after_ms() == 70)
    _ = Failure.invalid("x").record()
    #expect(kdn_error_retry_after_ms() == 0)
    #expect(kdn_error_server_status() == 0)
  }

  @Test("is told for every handle that is NULL")
  func nullHandles() {
    var length = 0
    var result = kdn_get_result()
    #expect(kdn_request(nil, 16, nil, 0, 0, nil, 0, &length) == KDN_INVALID.rawValue)
    #expect(text == "client is NULL")
    #expect(kdn_get_into(nil, nil, 0, 1, nil, 0, 0, &result) == KDN_INVALID.rawValue)
    #expect(kdn_lease_pieces(nil, 0) == 0)
    #expect(text == "lease is NULL")
    #expect(kdn_lease_is_held(nil) == 0)
    #expect(kdn_link(nil) == nil)
    kdn_close(nil)
    kdn_lease_release(nil)
    kdn_region_release(nil)
  }
}
