import Testing

@testable import kdn

@Suite("Links on the command line")
struct LinkArgumentsTests {
  @Test(
    "are names with commas between, each once", arguments: ["auto", "tcp,unix,shm,rdma", "shm"])
  func names(text: String) {
    let names = LinkArguments(argument: text)?.choices.map(\.rawValue)
    #expect(names?.joined(separator: ",") == text)
  }

  @Test("are nothing else", arguments: ["", "tls", "tcp,", ",tcp", "tcp,tcp", "TCP", "tcp unix"])
  func others(text: String) {
    #expect(LinkArguments(argument: text) == nil)
  }
}
