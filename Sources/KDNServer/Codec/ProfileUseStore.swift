internal import KDNCore
internal import KDNTier
internal import Logging

/// Keeps the uses of profiles in the directories of the disk tier, a copy in each.
final class ProfileUseStore: Sendable {
  private struct State: Sendable {
    /// nil once it is closed.
    var directories: [any BlockDirectory]?
    var serial: UInt64 = 0
    /// Whether there is anything on disk that would be wrong by now.
    var isThere = false
  }

  private let state: Guarded<State>
  private let log: Logger

  /// None of `directories` for a daemon that has only RAM: nothing is kept then.
  init(_ directories: [any BlockDirectory], log: Logger) {
    state = Guarded(State(directories: directories))
    self.log = log
  }

  /// Whether anything is kept.
  var isKept: Bool { state.withLock { $0.directories?.isEmpty == false } }

  /// The newest list of all directories, and how many were there that nothing could be read from;
  /// to be called once, first.
  func load() -> (uses: [ProfileUse], damaged: Int) {
    state.withLock { state in
      var newest: ProfileUseList?
      var damaged = 0
      for directory in state.directories ?? [] {
        do {
          guard let list = try Self.read(directory) else { continue }
          state.isThere = true
          if list.serial >= newest?.serial ?? 0 { newest = list }
        } catch {
          state.isThere = true
          damaged += 1
          log.error(
            "the uses of profiles cannot be read",
            metadata: ["directory": "\(directory.path)", "error": "\(error)"])
        }
      }
      state.serial = newest?.serial ?? 0
      return (newest?.uses ?? [], damaged)
    }
  }

  /// Puts a list in the place of the last one; says whether a directory has it.
  @discardableResult
  func save(_ uses: Set<ProfileUse>) -> Bool {
    let sorted = uses.sorted {
      ($0.namespace.text, "\($0.hash)") < ($1.namespace.text, "\($1.hash)")
    }
    return state.withLock { state in
      guard let directories = state.directories, !directories.isEmpty else { return false }
      guard !sorted.isEmpty || state.isThere else { return true }
      if sorted.count > ProfileUseList.countMax {
        log.error(
          "more profiles are in use than are kept: the others are forgotten with the daemon",
          metadata: ["uses": "\(sorted.count)", "limit": "\(ProfileUseList.countMax)"])
      }
      state.serial += 1
      state.isThere = true
      let list = ProfileUseList(
        serial: state.serial, uses: Array(sorted.prefix(ProfileUseList.countMax)))
      var isSaved = false
      for directory in directories {
        do {
          try directory.replaceRecord(
            DirectoryLayout.profiles, draft: DirectoryLayout.profilesDraft, with: list.bytes)
          isSaved = true
        } catch {
          log.error(
            "the uses of profiles cannot be written",
            metadata: ["directory": "\(directory.path)", "error": "\(error)"])
        }
      }
      return isSaved
    }
  }

  /// Gives the directories back; nothing is written any more.
  func close() { state.withLock { $0.directories = nil } }

  private static func read(_ directory: any BlockDirectory) throws -> ProfileUseList? {
    let blocks = (ProfileUseList.bytesMax + diskBlockBytes - 1) / diskBlockBytes
    let bytes = try directory.readRecord(
      DirectoryLayout.profiles, bytesMax: blocks * diskBlockBytes)
    return try bytes.map { bytes throws(FieldFault) in try ProfileUseList(reading: bytes) }
  }
}
