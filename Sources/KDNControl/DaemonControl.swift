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
  /// A page of a tenant's documents.
  ///
  /// - Throws: `not_found` for an unknown namespace, `bad_request` for a limit out of range.
  func documents(_ query: DocumentQuery) throws(ControlFault) -> DocumentPage
  /// The operations on a document.
  ///
  /// - Throws: `not_found` for an unknown namespace or name.
  func documentEdits(_ document: DocumentName) throws(ControlFault) -> DocumentEdits
  /// Which documents of a tenant may not be used.
  ///
  /// - Throws: `not_found` for an unknown namespace.
  func documentRules(of namespace: String) throws(ControlFault) -> DocumentRules
  /// The slowest requests of late, the newest first.
  func slowRequests() -> [SlowRequest]
  /// Jobs that keep objects in another codec: those under way and the last that ended, the newest
  /// first.
  func recodings() -> [RecodeReport]
  /// Events with a serial above `serial`, oldest first, at most `limit`.
  func events(after serial: UInt64, limit: Int) -> [DaemonEvent]

  /// Who the token belongs to; nil if it opens nothing. Wrong tokens cost the same time as right
  /// ones.
  func administrator(of token: String) -> AdministratorName?
  /// Whether any admin token is configured.
  var hasAdministrators: Bool { get }
  /// Hears of an order that was turned away before it came here, for the audit log.
  ///
  /// `order`: what was asked for, such as `purge`; `who`: nil if no token named anybody; `origin`:
  /// the peer's address, or empty. Too many in a short time are counted, not told one by one.
  func turnedAway(
    _ order: String, by who: AdministratorName?, from origin: String, _ why: ControlFault)

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
  /// Begins to keep objects in another codec, in the background; a job ends with the daemon.
  ///
  /// - Throws: `not_found`, `bad_request`; `conflict` if the namespace has a job, or the codec
  ///   needs a profile or is undone by the configuration; `busy`.
  func recode(
    _ order: RecodeOrder, by who: AdministratorName
  ) async throws(ControlFault) -> RecodeReport
  /// Has a namespace's job begin nothing more.
  ///
  /// - Throws: `not_found` without one, `bad_request`.
  func cancelRecode(
    of namespace: String, by who: AdministratorName
  ) throws(ControlFault) -> RecodeReport
  /// Adds an operation to a document; returns once no crash can undo it, as all that follows.
  ///
  /// - Throws: `not_found`, `bad_request`, `busy`, `unavailable`.
  func edit(
    _ order: DocumentEditOrder, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentEditAnswer
  /// Takes back one operation, or all for nil.
  ///
  /// - Throws: as `edit`.
  func revert(
    _ document: DocumentName, id: UInt64?, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentRevertAnswer
  /// Has what a document's edits change kept as it is delivered, in the background.
  ///
  /// - Throws: `not_found`, `bad_request`, `busy`, `unavailable`.
  func materialise(
    _ document: DocumentName, by who: AdministratorName
  ) throws(ControlFault) -> DocumentMaterial
  /// Forgets a document's name; its chunks stay.
  ///
  /// - Throws: as `edit`.
  func retire(
    _ document: DocumentName, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentRetirement
  /// Changes which documents may not be used, and tells which they are then.
  ///
  /// - Throws: as `edit`.
  func changeDocumentRules(
    _ order: DocumentRulesOrder, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentRules
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
  /// Where the order came from, such as the address of a peer; empty if that is not known.
  package let origin: String

  /// Names an administrator.
  package init(_ text: String, from origin: String = "") {
    self.text = text
    self.origin = origin
  }

  /// Who sent a signal to the process.
  package static let signal = AdministratorName("signal")

  package var description: String { text }
}
