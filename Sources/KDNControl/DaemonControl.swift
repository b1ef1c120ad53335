/// All that an administrator may ask of a running daemon; what serves it over HTTP knows only this.
///
/// Callable from any thread. The questions answer from memory and never wait for a data loop or a
/// device; the orders may.
package protocol DaemonControl: AnyObject, Sendable {
  /// The numbers of this moment.
  func report() -> DaemonReport
  /// Whether the daemon can serve, and what stands in the way.
  func readiness() -> ReadinessReport
  /// Each setting with its value and where that came from; secrets are redacted.
  func configuration() -> ConfigurationReport
  /// All tenants with their limits and tokens' names, in the order of their names.
  func namespaces() -> [NamespaceDetail]
  /// A page of a tenant's objects.
  ///
  /// - Throws: `not_found` for an unknown namespace, `bad_request` for a cursor of another kind.
  func objects(_ query: ObjectQuery) throws(ControlFault) -> ObjectPage
  /// The slowest requests of late, the newest first.
  func slowRequests() -> [SlowRequest]
  /// Events with a serial above `serial`, oldest first, at most `limit`.
  func events(after serial: UInt64, limit: Int) -> [DaemonEvent]

  /// Who the token belongs to; nil if it opens nothing. Wrong tokens cost the same time as right
  /// ones.
  func administrator(of token: String) -> AdministratorName?
  /// Whether any admin token is configured.
  var hasAdministrators: Bool { get }

  /// Reads the configuration anew and applies what changed: all of it or nothing.
  ///
  /// - Throws: `bad_request` that names the first key at fault; nothing has changed then.
  func reload(by who: AdministratorName) async throws(ControlFault) -> ReloadReport
  /// Begins to drain; the process ends when it is done.
  func drain(by who: AdministratorName)
  /// Drops objects; returns once no crash can bring them back.
  ///
  /// - Throws: `not_found`, `bad_request`, `busy`, `unavailable`.
  func purge(
    _ order: PurgeOrder, by who: AdministratorName
  ) async throws(ControlFault) -> PurgeReport
  /// Pins or unpins objects; returns once a crash cannot undo it.
  ///
  /// - Throws: `not_found`, `bad_request`, `over_quota`.
  func pin(_ order: PinOrder, by who: AdministratorName) async throws(ControlFault) -> PinReport
  /// Sets the least severe level that is logged, until the next reload.
  ///
  /// - Throws: `bad_request` for a level that there is not.
  func setLogLevel(_ level: String, by who: AdministratorName) throws(ControlFault)
  /// Adds, changes or removes a tenant, and writes it to the file of namespaces first.
  ///
  /// - Throws: `not_found`, `conflict`, `bad_request`, or `unavailable` without such a file.
  func change(
    _ change: NamespaceChange, by who: AdministratorName
  ) async throws(ControlFault) -> NamespaceDetail
}

/// Who gave an order, as the audit log calls it.
package struct AdministratorName: Hashable, Sendable, CustomStringConvertible {
  /// The name in the configuration, or what stands for an operator at the machine itself.
  package let text: String

  /// Names an administrator.
  package init(_ text: String) { self.text = text }

  /// Who sent a signal to the process.
  package static let signal = AdministratorName("signal")

  package var description: String { text }
}
