import Foundation
import KDNControl
import KDNCore
import Testing

@testable import KDNServer

@Suite("The file of namespaces")
struct TenantFileTests {
  private static let now: UInt64 = 1_800_000_000_000
  private static let first = String(repeating: "ab", count: 32)
  private static let second = String(repeating: "cd", count: 32)

  private func sample() throws -> TenantFile {
    var file = TenantFile()
    for change in [
      NamespaceChange.add(name: "red", limits: NamespaceLimits(ramBytesMax: 1 << 30)),
      .add(name: "blue", limits: .none),
      .addToken(name: "red", sha256: Self.first, expiresInSeconds: nil),
      .addToken(name: "red", sha256: Self.second, expiresInSeconds: 60),
    ] {
      _ = try file.apply(change, taken: [], nowMilliseconds: Self.now)
    }
    return file
  }

  private func fault(_ text: String) -> FieldFault? {
    do throws(FieldFault) {
      _ = try TenantFile(Array(text.utf8))
      return nil
    } catch {
      return error
    }
  }

  private func fault(_ change: NamespaceChange, in file: TenantFile) -> ControlFault? {
    var changed = file
    do throws(ControlFault) {
      _ = try changed.apply(
        change, taken: [try name("taken")], nowMilliseconds: Self.now)
      return nil
    } catch {
      #expect(changed == file, "a refused order changes nothing")
      return error
    }
  }

  private func name(_ text: String) throws(ControlFault) -> NamespaceName {
    do {
      return try NamespaceName(text)
    } catch {
      throw ControlFault(error)
    }
  }

  @Test("holds what was written, without the tokens that have ended")
  func roundTrip() throws {
    let file = try sample()
    #expect(try TenantFile(file.bytes(nowMilliseconds: Self.now)) == file)
    let later = try TenantFile(file.bytes(nowMilliseconds: Self.now + 60_000))
    #expect(later.tenants[try NamespaceName("red")]?.tokens.map(\.id) == ["abababababab"])
  }

  @Test("is refused with the place of what is wrong in it")
  func badFiles() {
    let red = #"{"name":"red"}"#
    let rows: [(String, String)] = [
      ("", "not"), ("{", "not"), ("[]", "Dictionary"), (#"{"schema":1}"#, "namespaces: is missing"),
      (#"{"schema":2,"namespaces":[]}"#, "schema"),
      (#"{"schema":1,"namespaces":[],"more":1}"#, "more: no such key"),
      (#"{"schema":1,"namespaces":[\#(red),\#(red)]}"#, "'red' stands there twice"),
      (#"{"schema":1,"namespaces":[{"name":"a b"}]}"#, "'a b'"),
      (#"{"schema":1,"namespaces":[{"name":"a","limits":{"ram_bytes_max":0}}]}"#, "ram"),
      (#"{"schema":1,"namespaces":[{"name":"a","limits":{"ram":1}}]}"#, "limits.ram: no such"),
      (#"{"schema":1,"namespaces":[{"name":"a","limits":{"ram_bytes_max":-5}}]}"#, "ram"),
      (#"{"schema":1,"namespaces":[{"name":"a","limits":{"ram_bytes_max":1e30}}]}"#, "not valid"),
      (#"{"schema":1,"namespaces":[{"name":"a","tokens":[{"sha256":"12"}]}]}"#, "64 hexa"),
      (#"{"schema":1,"namespaces":[{"name":"a","tokens":[{}]}]}"#, "tokens.0.sha256: is missing"),
      (#"{"schema":1,"namespaces":[{"name":"a","certificate_names":[""]}]}"#, "certificate name"),
    ]
    for (text, problem) in rows {
      let found = fault(text)
      #expect(found?.field.hasPrefix("namespaces_file") == true, "\(text)")
      let told = found.map { "\($0)" } ?? ""
      #expect(told.contains(problem), "\(text): \(told)")
    }
    let token = #"{"sha256":"\#(Self.first)"}"#
    let twice = #"{"schema":1,"namespaces":[{"name":"a","tokens":[\#(token),\#(token)]}]}"#
    #expect(fault(twice) != nil)
    let many = (0...TenantFile.tenantsMax).map { #"{"name":"n\#($0)"}"# }.joined(separator: ",")
    #expect(fault(#"{"schema":1,"namespaces":[\#(many)]}"#)?.limit == 1024)
    #expect(fault(String(repeating: " ", count: TenantFile.bytesMax + 1)) != nil)
    #expect(fault(String(repeating: "[", count: 100_000)) != nil, "deep nesting is no trap")
  }

  @Test("no bytes in it make the daemon trap; what is accepted survives being written again")
  func mutations() throws {
    let whole = try sample().bytes(nowMilliseconds: Self.now)
    var random = SystemRandomNumberGenerator()
    func check(_ bytes: [UInt8]) {
      guard let file = try? TenantFile(bytes) else { return }
      #expect(throws: Never.self) {
        let again = try TenantFile(file.bytes(nowMilliseconds: 0))
        #expect(again.tenants.keys == file.tenants.keys)
      }
    }
    for length in 0..<whole.count { check(Array(whole[..<length])) }
    for place in whole.indices {
      for bit in 0..<8 {
        var bytes = whole
        bytes[place] ^= 1 << UInt8(bit)
        check(bytes)
      }
    }
    for _ in 0..<2000 {
      var bytes = whole
      for _ in 0..<3 {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        bytes[place] = "{}[]\",:0-9eE.truenulf\\".utf8.randomElement(using: &random) ?? 0
      }
      check(bytes)
    }
  }

  @Test("rotation lets old tokens live for the grace, never longer than they would have")
  func rotation() throws {
    var file = try sample()
    let third = String(repeating: "ef", count: 32)
    let order = NamespaceChange.rotate(name: "red", sha256: third, graceSeconds: 300)
    let tenant = try file.apply(order, taken: [], nowMilliseconds: Self.now)
    #expect(
      tenant.tokens.map(\.expiresUnixMilliseconds) == [Self.now + 300_000, Self.now + 60_000, nil])
    let atOnce = NamespaceChange.rotate(name: "red", sha256: Self.first, graceSeconds: 0)
    let after = try file.apply(atOnce, taken: [], nowMilliseconds: Self.now + 1)
    #expect(after.tokens.map(\.id) == ["abababababab"])
    #expect(after.tokens[0].expiresUnixMilliseconds == nil)
  }

  @Test("a name that was removed is nobody's until its objects are gone")
  func removal() throws {
    var file = try sample()
    let name = try NamespaceName("red")
    _ = try file.apply(.remove(name: "red"), taken: [], nowMilliseconds: Self.now)
    #expect(file.tenants[name] == nil && file.leaving == [name])
    #expect(fault(.add(name: "red", limits: .none), in: file)?.code == .conflict)
    #expect(try TenantFile(file.bytes(nowMilliseconds: Self.now)) == file)
  }

  @Test("orders that cannot be are refused with their kind of fault")
  func refusals() throws {
    let file = try sample()
    let rows: [(NamespaceChange, ControlFault.Code)] = [
      (.add(name: "red", limits: .none), .conflict),
      (.add(name: "taken", limits: .none), .conflict),
      (.add(name: "a b", limits: .none), .badRequest),
      (.add(name: "new", limits: NamespaceLimits(ramBytesMax: 0)), .badRequest),
      (.add(name: "new", limits: NamespaceLimits(connectionsMax: -1)), .badRequest),
      (.setLimits(name: "grey", limits: .none), .notFound),
      (.addToken(name: "red", sha256: Self.first, expiresInSeconds: nil), .conflict),
      (.addToken(name: "red", sha256: "12", expiresInSeconds: nil), .badRequest),
      (.addToken(name: "blue", sha256: Self.first, expiresInSeconds: .max), .badRequest),
      (.rotate(name: "blue", sha256: Self.first, graceSeconds: .max), .badRequest),
      (.revokeToken(name: "red", id: "000000000000"), .notFound),
      (.remove(name: "grey"), .notFound),
    ]
    for (order, code) in rows { #expect(fault(order, in: file)?.code == code, "\(order)") }
  }

  @Test("a tenant has at most sixteen tokens")
  func tokensMax() throws {
    var file = try sample()
    for number in 0..<TenantToken.countMax {
      let hash = TokenHash(of: "token \(number)").hexadecimal
      let order = NamespaceChange.addToken(name: "blue", sha256: hash, expiresInSeconds: nil)
      _ = try file.apply(order, taken: [], nowMilliseconds: Self.now)
    }
    let order = NamespaceChange.addToken(name: "blue", sha256: Self.first, expiresInSeconds: nil)
    #expect(fault(order, in: file)?.code == .conflict)
  }
}
