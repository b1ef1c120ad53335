internal import Glibc
internal import KDNCore

/// Keeps what is known of documents in the directories of the disk tier, a copy in each.
///
/// Each copy is one file: the state that it began with, and behind it a frame for each batch of
/// changes since. A file that is full, that could not be written, or that lacks batches is replaced
/// by a new one with the state of that moment. Everything blocks; one thread at a time.
package final class DocumentJournal: Sendable {
  /// What was there at the start.
  package struct Loaded: Sendable {
    /// All that is believed, in order.
    package var changes: [DocumentChange] = []
    /// Whether something that was durable is lost, so that no document is believed: `changes` then
    /// tell rules and epochs alone.
    package var isDamaged = false
    /// What is wrong, and in which directory.
    package var problems: [(path: String, problem: String)] = []
  }

  private struct State: Sendable {
    var copies: [DocumentCopy]
    var batch: UInt64 = 0
  }

  /// Most bytes that the changes have together that make up a state.
  package let stateBytesMax: Int
  private let state: Guarded<State>
  private let report: @Sendable (_ path: String, _ problem: DiskError) -> Void
  /// Frames that a file begins with are about so long, so that little memory is needed at a time.
  private static let stateFrameBytes = 1 << 20
  private static let stateBytesRange = 256 << 10...32 << 20

  /// Keeps copies in `directories`, at least one, each with the capacity of its cache in bytes.
  ///
  /// `report` is told of each directory that could not be written.
  package init(
    _ directories: [(directory: any BlockDirectory, capacityBytes: Int)],
    report: @escaping @Sendable (_ path: String, _ problem: DiskError) -> Void = { _, _ in }
  ) {
    self.report = report
    precondition(!directories.isEmpty, "a journal lies in a directory")
    let range = Self.stateBytesRange
    stateBytesMax = directories.reduce(range.upperBound) {
      min($0, max(range.lowerBound, $1.capacityBytes / 256))
    }
    state = Guarded(State(copies: directories.map { DocumentCopy($0.directory) }))
  }

  // MARK: Reading

  /// Reads all copies and takes the one that knows most; to be called once, first.
  package func load() -> Loaded {
    state.withLock { state in
      var loaded = Loaded()
      var surveys: [(copy: Int, survey: DocumentSurvey)] = []
      for index in state.copies.indices {
        let directory = state.copies[index].directory
        do {
          guard let survey = try Self.survey(directory) else { continue }
          surveys.append((index, survey))
          guard case .damaged(let block, let fault) = survey.condition else { continue }
          loaded.problems.append((directory.path, "block \(block): \(fault)"))
        } catch {
          loaded.problems.append((directory.path, "\(error)"))
        }
      }
      let known = surveys.map(\.survey)
      let best = surveys.filter { !$0.survey.isDamaged }.max { $0.survey.batch < $1.survey.batch }
      state.batch = known.map(\.lastBatch).max() ?? 0
      let isDamaged = best.map { $0.survey.batch < state.batch } ?? !loaded.problems.isEmpty
      loaded.isDamaged = isDamaged
      loaded.changes = isDamaged ? Self.certainties(of: known) : best?.survey.changes ?? []
      guard let best, !isDamaged else { return loaded }
      for (index, survey) in surveys {
        guard survey.condition == .sound, survey.batch == best.survey.batch else { continue }
        state.copies[index].reopen(survey, &loaded.problems)
      }
      return loaded
    }
  }

  private static func survey(_ directory: any BlockDirectory) throws(DiskError) -> DocumentSurvey? {
    let bytes = try directory.readRecord(
      DirectoryLayout.documents, bytesMax: DocumentSurvey.byteCountMax)
    return bytes.map { bytes in
      unsafe bytes.withUnsafeBytes { unsafe DocumentSurvey(reading: $0) }
    }
  }

  /// What holds whatever is lost: rules of any copy, and that epochs were given.
  private static func certainties(of surveys: [DocumentSurvey]) -> [DocumentChange] {
    var epochs: [NamespaceName: UInt64] = [:]
    var rules: [NamespaceName: AccessRules] = [:]
    for survey in surveys {
      var own: [NamespaceName: AccessRules] = [:]
      for change in survey.changes {
        switch change {
        case .epoch(let name, let epoch), .published(let name, _, let epoch):
          epochs[name] = max(epoch, epochs[name] ?? 0)
        case .edited(let name, _, let edit):
          epochs[name] = max(edit.id, epochs[name] ?? 0)
        case .denied(let name, let denied): own[name] = denied
        case .layout, .retired, .reverted, .forgotten: break
        }
      }
      for (name, denied) in own {
        let both = try? rules[name]?.changed(denying: denied.denied, allowing: [])
        rules[name] = both ?? rules[name] ?? denied
      }
    }
    return epochs.map { .epoch($0.key, $0.value) } + rules.map { .denied($0.key, $0.value) }
  }

  // MARK: Writing

  /// Returns once at least one directory has `changes` for good; `state` makes the changes that
  /// come to all that is known then, these among them.
  ///
  /// `changes` take at most `DocumentFrame.changeBytesMax` bytes together.
  /// - Throws: what the last directory refused. Nothing is known of these changes then: a start may
  ///   find them or not, until something later has been written.
  package func append(
    _ changes: [DocumentChange], state makeState: () -> [DocumentChange]
  ) throws(DiskError) {
    let (isWritten, failures) = state.withLock { state in
      // A number is never used twice, also if nothing comes of it: of two copies the newer counts.
      state.batch += 1
      var whole: [DocumentChange]?
      var failures: [(path: String, error: DiskError)] = []
      for index in state.copies.indices {
        do throws(DiskError) {
          if try !state.copies[index].append(changes, batch: state.batch) {
            let all = whole ?? makeState()
            whole = all
            try state.copies[index].replace(
              all, batch: state.batch, frameBytes: Self.stateFrameBytes)
          }
        } catch {
          state.copies[index].abandon()
          failures.append((state.copies[index].directory.path, error))
        }
      }
      return (failures.count < state.copies.count, failures)
    }
    for failure in failures { report(failure.path, failure.error) }
    guard !isWritten else { return }
    throw failures.last?.error
      ?? DiskError(call: "append", file: DirectoryLayout.documents, code: EBADF)
  }

  /// Gives the directories back; nothing is written any more.
  package func close() { state.withLock { $0.copies = [] } }
}

extension DocumentSurvey {
  fileprivate var isDamaged: Bool {
    if case .damaged = condition { true } else { false }
  }
}
