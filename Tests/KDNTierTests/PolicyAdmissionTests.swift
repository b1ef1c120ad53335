import KDNCore
import Testing

@testable import KDNTier

@Suite("What is let onto the disk")
struct PolicyAdmissionTests {
  @Test("each rule is found by its name and tells it", arguments: AdmissionRule.allCases)
  func names(_ rule: AdmissionRule) throws {
    #expect(try AdmissionRule(parsing: rule.rawValue, field: "disk_admission") == rule)
  }

  @Test("the names are those of the configuration")
  func configuredNames() {
    #expect(AdmissionRule.allCases.map(\.rawValue) == ["all", "second_hit", "wanted"])
  }

  @Test("another name is refused and the field is named", arguments: ["", "All", "second-hit"])
  func otherNames(_ text: String) throws {
    let fault = #expect(throws: FieldFault.self) {
      try AdmissionRule(parsing: text, field: "disk_admission")
    }
    #expect(fault?.field == "disk_admission")
  }

  @Test("what is wanted is admitted by every rule", arguments: AdmissionRule.allCases)
  func wanted(_ rule: AdmissionRule) {
    let facts = AdmissionFacts(byteCount: 1, uses: 1, isWanted: true)
    #expect(rule.policy.admits(facts))
  }

  @Test(
    "what is not wanted is admitted by its uses",
    arguments: [
      (AdmissionRule.all, UInt64(1), true), (.all, 2, true), (.secondHit, 1, false),
      (.secondHit, 2, true), (.secondHit, .max, true), (.wanted, 1, false), (.wanted, 2, false),
    ])
  func notWanted(_ rule: AdmissionRule, uses: UInt64, isAdmitted: Bool) {
    let facts = AdmissionFacts(byteCount: 1, uses: uses, isWanted: false)
    #expect(rule.policy.admits(facts) == isAdmitted)
  }
}
