internal import KDNControl

/// What an event is about; the texts are those of `DaemonEvent.kind`.
package enum EventKind: String, Sendable, CaseIterable {
  /// The daemon began to serve.
  case started
  /// A directory of the disk tier knows all that it holds.
  case recovered
  /// The configuration was read anew and holds.
  case reloaded
  /// The configuration was read anew and refused.
  case reloadFailed = "reload_failed"
  /// The daemon began to drain.
  case draining
  /// An administrator dropped objects.
  case purged
  /// An administrator pinned or unpinned objects.
  case pinned
  /// An administrator had a job begun that keeps objects in another codec.
  case recoding
  /// Such a job ended.
  case recoded
  /// A tenant was added, changed or removed.
  case namespaceChanged = "namespace_changed"
  /// The least severe level that is logged was set.
  case logLevel = "log_level"
  /// A directory of the disk tier has trouble.
  case diskFault = "disk_fault"
  /// Certificate and key were read anew.
  case tlsReloaded = "tls_reloaded"
}
