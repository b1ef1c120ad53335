internal import KDNPool
internal import KDNTier
internal import Logging

extension Storage {
  /// Takes up documents, their edits and the rules on them that are in the directories of the disk
  /// tier, if there are any, and keeps all changes there.
  ///
  /// `resetsCache`: forgets the documents, whose chunks are gone.
  func keepDocuments(resetsCache: Bool, log: Logger) {
    guard !documentDirectories.isEmpty else { return }
    let journal = DocumentJournal(documentDirectories) { path, problem in
      log.error(
        "what is kept of documents cannot be written",
        metadata: ["directory": "\(path)", "error": "\(problem)"])
    }
    let restored = pool.keepDocuments(in: journal, forgetsDocuments: resetsCache)
    for (path, problem) in restored.problems {
      log.error(
        "what is kept of documents cannot be read",
        metadata: ["directory": "\(path)", "error": "\(problem)"])
    }
    if restored.isDamaged {
      log.error(
        "what was kept of documents is damaged: all names are forgotten, rules may be missing",
        metadata: ["rules": "\(restored.rules)"])
    }
    guard restored.documents + restored.rules + restored.lost > 0 else { return }
    log.info(
      "documents known again",
      metadata: [
        "documents": "\(restored.documents)", "edits": "\(restored.edits)",
        "rules": "\(restored.rules)", "lost": "\(restored.lost)",
      ])
  }
}
