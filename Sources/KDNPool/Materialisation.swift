internal import KDNCore

/// Keeps the chunks of one document as its edits make them, in the background.
final class Materialisation: Sendable {
  /// An object of a chunk that edits change.
  struct Item: Sendable {
    let key: ObjectKey
    /// Its tokens in the document.
    let tokens: Range<Int>
  }

  private struct State: Sendable {
    var waiting: [Item] = []
    var pending = 0
    var total = 0
    var kept = 0
    var hasAll = false
    var isAdvancing = false
    var isCancelled = false
    var isOver = false
  }

  let document: PublishedDocument
  let form: EditedForm
  let namespace: Namespace
  let generation: UInt64
  private let state = Guarded(State())

  init(_ document: PublishedDocument, _ form: EditedForm, in namespace: Namespace) {
    self.document = document
    self.form = form
    self.namespace = namespace
    generation = namespace.generation
  }

  /// How far it is.
  var progress: Materialised {
    state.withLock { Materialised(.running, total: $0.total, kept: $0.kept) }
  }

  /// Whether what it makes is of no use any more.
  var isCancelled: Bool { state.withLock { $0.isCancelled } }

  /// Begins nothing more, and has what is under way dropped.
  func cancel() {
    state.withLock { state in
      state.isCancelled = true
      state.waiting = []
      state.hasAll = true
    }
  }

  /// Notes what is to be made.
  func begin(_ items: [Item]) {
    state.withLock { state in
      state.total = items.count
      guard !state.isCancelled else { return }
      // Taken from the end.
      state.waiting = items.reversed()
      state.hasAll = true
    }
  }

  /// Begins a step unless one is under way or all is over.
  func beginAdvance() -> Bool {
    state.withLock { state in
      guard !state.isAdvancing, !state.isOver else { return false }
      state.isAdvancing = true
      return true
    }
  }

  /// Ends a step; says whether it was the last one.
  func endAdvance() -> Bool {
    state.withLock { state in
      state.isAdvancing = false
      guard state.hasAll, state.waiting.isEmpty, state.pending == 0 else { return false }
      state.isOver = true
      return true
    }
  }

  func next(pendingMax: Int) -> Item? {
    state.withLock { state in
      guard state.pending < pendingMax, let item = state.waiting.popLast() else { return nil }
      state.pending += 1
      return item
    }
  }

  func putBack(_ item: Item) {
    state.withLock { state in
      state.pending -= 1
      if !state.isCancelled { state.waiting.append(item) }
    }
  }

  /// Notes the end of one object, which is kept now or is not.
  func end(isKept: Bool) {
    state.withLock { state in
      state.pending -= 1
      if isKept { state.kept += 1 }
    }
  }
}

/// Edited chunks of one pool: who tells what they are, and which are being made.
final class Editing: Sendable {
  private struct Name: Hashable, Sendable {
    let namespace: UInt32
    let name: [UInt8]

    init(_ document: PublishedDocument, in namespace: Namespace) {
      self.namespace = namespace.number
      name = Array(document.document.name.utf8)
    }
  }

  /// How an order goes on.
  enum Joining: Sendable {
    case first
    case known(Materialisation)
    case full
  }

  /// Most documents whose chunks are being made.
  static let activeMax = 8

  let former: any DocumentFormer
  private let jobs = Guarded<[Name: Materialisation]>([:])

  init(_ former: any DocumentFormer) { self.former = former }

  /// The job of a document.
  func job(of document: PublishedDocument, in namespace: Namespace) -> Materialisation? {
    jobs.withLock { $0[Name(document, in: namespace)] }
  }

  /// Notes a job, unless its document has one or there are too many.
  func begin(_ job: Materialisation) -> Joining {
    jobs.withLock { jobs in
      let name = Name(job.document, in: job.namespace)
      if let known = jobs[name], !known.isCancelled { return .known(known) }
      guard jobs.count < Self.activeMax else { return .full }
      jobs[name] = job
      return .first
    }
  }

  /// Forgets a job that is over.
  func end(_ job: Materialisation) {
    jobs.withLock { jobs in
      let name = Name(job.document, in: job.namespace)
      if jobs[name] === job { jobs[name] = nil }
    }
  }
}
