import Foundation
import KDNCore
import Testing

@testable import KDNControl

@Suite("A value of the control as JSON")
struct RoundTripTests {
  /// Comes back as it was: what is written of what was read is the same text.
  private func expectRoundTrip<Value: Codable>(_ value: Value) throws {
    let text = ControlJSON.encode(value)
    let back = try ControlJSON.decode(Value.self, from: text)
    #expect(ControlJSON.encode(back) == text)
  }

  @Test("comes back as it was")
  func roundTrips() throws {
    try expectRoundTrip(Samples.daemon)
    try expectRoundTrip(Samples.readiness)
    try expectRoundTrip(Samples.configuration)
    try expectRoundTrip([Samples.detail])
    try expectRoundTrip(Samples.page)
    try expectRoundTrip(Samples.documents)
    try expectRoundTrip([Samples.slow])
    try expectRoundTrip([Samples.event])
    try expectRoundTrip(NamespaceLimits.none)
    try expectRoundTrip(ControlFault(.overQuota, field: "pinned", "too much"))
    try expectRoundTrip(ReloadReport(changed: ["log_level"]))
    try expectRoundTrip(PurgeReport(objects: 1, bytes: 2))
    try expectRoundTrip(PinReport(objects: 3))
  }

  @Test("has the names that dashboards and scripts read")
  func golden() throws {
    let written = try JSONSerialization.jsonObject(with: Data(ControlJSON.encode(Samples.daemon)))
    let wanted = try JSONSerialization.jsonObject(with: Data(Golden.report.utf8))
    #expect(written as? NSDictionary == wanted as? NSDictionary)
    #expect(wanted as? NSDictionary != nil)
  }

  @Test("is equal to itself where equality is defined")
  func equality() throws {
    let orders = [
      PurgeOrder(namespace: "a", hashes: ["00"], withDescendants: true),
      PurgeOrder(namespace: "a", layouts: ["00"]), PurgeOrder(namespace: "a", all: true),
    ]
    let text = ControlJSON.encode(orders)
    #expect(try ControlJSON.decode([PurgeOrder].self, from: text) == orders)
    let pin = PinOrder(namespace: "a", hashes: ["00"], ttlMilliseconds: 5)
    #expect(try ControlJSON.decode(PinOrder.self, from: ControlJSON.encode(pin)) == pin)
  }

  @Test("leaves out what is nil, and reads it so", arguments: [nil, "c"] as [String?])
  func absent(next: String?) throws {
    let text = ControlJSON.encode(ObjectPage(objects: [], next: next))
    #expect(String(decoding: text, as: UTF8.self).contains("next") == (next != nil))
    #expect(try ControlJSON.decode(ObjectPage.self, from: text).next == next)
  }

  @Test("keeps the keys of a table as they are: they are names, not fields")
  func tables() throws {
    let text = String(decoding: ControlJSON.encode(Samples.pool), as: UTF8.self)
    #expect(text.contains(#""misses_total":{"never_stored":34,"over_credit":35}"#))
    let back = try ControlJSON.decode(PoolReport.self, from: Array(text.utf8))
    #expect(back.missesTotal == Samples.pool.missesTotal)
  }

  @Test("with fields that this version does not know is read as if they were not there")
  func newer() throws {
    let text = #"{"objects":[],"next":"c","later":{"x":1}}"#
    #expect(try ControlJSON.decode(ObjectPage.self, from: Array(text.utf8)).next == "c")
  }
}

@Suite("JSON that is not what was expected")
struct DecodingFaultTests {
  @Test(
    "is a bad request that names the key at fault",
    arguments: [
      (#"{"hashes":["00"]}"#, "namespace"), (#"{"namespace":7,"hashes":[]}"#, "namespace"),
      (#"{"namespace":"a","hashes":null}"#, "hashes"),
      (#"{"namespace":"a","hashes":["00",3]}"#, "hashes[1]"),
      (#"{"namespace":"a","hashes":[],"ttl_milliseconds":-1}"#, "ttl_milliseconds"),
      (#"{"namespace":"a","hashes":[],"ttl_milliseconds":1.5}"#, "ttl_milliseconds"),
      (#"{"namespace":"a","hashes":[],"ttl_milliseconds":1e40}"#, "ttl_milliseconds"),
      (#"{"namespace":"a","hashes":[],"ttl_milliseconds":"1"}"#, "ttl_milliseconds"),
    ])
  func names(text: String, field: String) {
    #expect(fault(text)?.code == .badRequest)
    #expect(fault(text)?.field == field)
  }

  @Test("at all is a bad request", arguments: ["", "{", "[]", "null", "\u{0}", "{\"namespace\""])
  func notJSON(text: String) {
    #expect(fault(text)?.code == .badRequest)
  }

  @Test("of many levels is refused and does no harm")
  func deep() {
    let text = String(repeating: "[", count: 100_000)
    #expect(fault(text)?.code == .badRequest)
  }

  @Test("of a field deep inside is named by its path")
  func path() {
    let text = #"{"objects":[{"hash":"ab"}]}"#
    var field: String?
    do {
      _ = try ControlJSON.decode(ObjectPage.self, from: Array(text.utf8))
    } catch {
      field = error.field
    }
    #expect(field?.hasPrefix("objects[0].") == true)
  }

  private func fault(_ text: String) -> ControlFault? {
    do {
      _ = try ControlJSON.decode(PinOrder.self, from: Array(text.utf8))
      return nil
    } catch {
      return error
    }
  }
}
