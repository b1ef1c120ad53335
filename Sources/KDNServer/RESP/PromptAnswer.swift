internal import KDNCore

/// Tells an answer that came while it was asked for from one that comes later, on another thread.
final class PromptAnswer<Answer: Sendable>: Sendable {
  private enum State: Sendable {
    case asking
    case answered(Answer)
    case waiting
  }

  private let state = Guarded(State.asking)

  /// Keeps an answer for the asker, who is still there; false if it has gone on.
  func keep(_ answer: Answer) -> Bool {
    state.withLock { state in
      guard case .asking = state else { return false }
      state = .answered(answer)
      return true
    }
  }

  /// The answer, if it came already; from now on none is kept.
  func take() -> Answer? {
    state.withLock { state in
      defer { state = .waiting }
      guard case .answered(let answer) = state else { return nil }
      return answer
    }
  }
}
