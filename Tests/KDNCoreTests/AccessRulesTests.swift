import KDNCore
import Testing

@Suite("Rules on documents")
struct AccessRulesTests {
  private func field(_ rules: [String]) -> String? {
    do {
      _ = try AccessRules(denied: rules)
      return nil
    } catch {
      return error.field
    }
  }

  @Test("deny whole names, beginnings of names, and nothing else")
  func denying() throws {
    let rules = try AccessRules(denied: ["secret/*", "handbook", "é"])
    for name in ["secret/", "secret/plans", "handbook", "é"] {
      #expect(rules.rule(denying: name) != nil, "\(name)")
    }
    // The same letter in other bytes is another name.
    for name in ["secret", "handbook2", "a handbook", "Secret/x", "e\u{301}", "*"] {
      #expect(rules.rule(denying: name) == nil, "\(name)")
    }
    #expect(try AccessRules(denied: ["*"]).rule(denying: "anything") == "*")
    #expect(AccessRules.none.rule(denying: "anything") == nil)
  }

  @Test("are kept once each, in the order of their bytes")
  func order() throws {
    let rules = try AccessRules(denied: ["b", "a*", "b", "Z", "é", "e\u{301}"])
    #expect(
      rules.denied.map { Array($0.utf8) }
        == ["Z", "a*", "b", "e\u{301}", "é"].map {
          Array($0.utf8)
        })
  }

  @Test("are added and taken away, those that are not there too")
  func changes() throws {
    let rules = try AccessRules(denied: ["a", "b"])
    let changed = try rules.changed(denying: ["c", "a"], allowing: ["b", "x"])
    #expect(changed.denied == ["a", "c"])
    #expect(try changed.changed(denying: ["y"], allowing: ["y", "a", "c"]) == .none)
  }

  @Test("that no name can be are refused")
  func wrong() {
    for rule in ["", "a\nb", "a\u{7F}*", String(repeating: "n", count: 257)] {
      #expect(field([rule]) == "name", "\(rule)")
    }
    #expect(field([String(repeating: "n", count: 256) + "*"]) == nil)
    #expect(field((0...AccessRules.countMax).map { "\($0)" }) == "denied")
    #expect(field((0..<AccessRules.countMax).map { "\($0)" }) == nil)
  }
}
