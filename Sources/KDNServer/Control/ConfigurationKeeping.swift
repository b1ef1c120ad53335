internal import KDNControl
internal import KDNCore

/// What the control asks of whoever keeps configuration and tenants.
protocol ConfigurationKeeping: AnyObject, Sendable {
  /// What came of the last reload.
  var reloadState: ReloadState { get }
  /// Whether any admin token is configured.
  var hasAdministrators: Bool { get }

  /// Each setting with its value and where that came from; secrets are redacted.
  func report() -> ConfigurationReport
  /// All tenants, in the order of their names.
  func namespaces() -> [NamespaceDetail]
  /// The limits of each tenant that can be entered, the development namespace included.
  func limits() -> [NamespaceName: NamespaceLimits]
  /// Whether this is the namespace that is open to everybody on this host.
  func isDevelopment(_ namespace: NamespaceName) -> Bool
  /// Who the token belongs to; a wrong one costs the same time as a right one.
  func administrator(of token: String) -> AdministratorName?

  /// Reads the configuration anew and applies all that changed, or nothing.
  ///
  /// - Throws: what is wrong with it, or why it cannot change while the daemon runs.
  func reload() async throws(ControlFault) -> ReloadReport
  /// Writes a change to the file of namespaces, then lets it hold everywhere.
  ///
  /// - Throws: why it did not; nothing has changed then.
  func change(_ change: NamespaceChange) async throws(ControlFault) -> NamespaceDetail
}
