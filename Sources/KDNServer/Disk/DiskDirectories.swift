internal import KDNTier
internal import Logging

/// The configured directories, opened and locked, each with an engine of its own.
struct DiskDirectories {
  /// For the tier.
  let configurations: [DiskDirectoryConfiguration]

  /// Opens what is configured; with `isResetting` drops what kdnd has left there before.
  ///
  /// - Throws: why a directory cannot be used; the locks that were taken are given back.
  init(
    _ disk: DiskSettings, isResetting: Bool, log: Logger, makeEngine: EngineMaker
  ) throws(StartError) {
    // All locks first: nothing is dropped if one of them is not to be had.
    let directories = try disk.places.map { place throws(StartError) in
      try Self.open(place.path)
    }
    if isResetting {
      for directory in directories { try Self.reset(directory, log) }
    }
    var configurations: [DiskDirectoryConfiguration] = []
    for (place, directory) in zip(disk.places, directories) {
      let engine: any DiskEngine
      do {
        engine = try makeEngine(disk, place.path, log)
      } catch {
        for made in configurations { made.engine.shutDown() }
        throw .disk("\(place.path): \(error)")
      }
      log.info(
        "disk directory opened",
        metadata: [
          "directory": "\(place.path)", "capacity_bytes": "\(place.capacity.bytes)",
          "engine": "\(engine.name)", "direct": "\(directory.isDirect)",
        ])
      configurations.append(
        DiskDirectoryConfiguration(
          directory: directory, engine: engine, capacityBytes: place.capacity.bytes))
    }
    self.configurations = configurations
  }

  /// Ends the engines, for a tier that was never opened.
  func shutDown() {
    for configuration in configurations { configuration.engine.shutDown() }
  }

  private static func open(_ path: String) throws(StartError) -> FileDirectory {
    do {
      return try FileDirectory(path: path)
    } catch {
      throw .disk("\(error)")
    }
  }

  /// Drops every file that the tier makes, and no other.
  private static func reset(_ directory: FileDirectory, _ log: Logger) throws(StartError) {
    do {
      let files = try directory.list().filter {
        DirectoryLayout.isOurs($0.name) && !DirectoryLayout.outlivesCache($0.name)
      }
      for file in files { try directory.remove(file.name) }
      log.notice(
        "disk cache dropped",
        metadata: [
          "directory": "\(directory.path)", "files": "\(files.count)",
          "bytes": "\(files.reduce(0) { $0 + $1.byteCount })",
        ])
    } catch {
      throw .disk("\(directory.path): \(error)")
    }
  }
}
