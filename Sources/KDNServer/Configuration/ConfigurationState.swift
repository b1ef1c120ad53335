internal import KDNControl
internal import KDNCore
internal import KDNTransport

/// A configuration with all that it names: read and checked as a whole, then applied or dropped.
struct ConfigurationState: Sendable {
  let configuration: ServerConfiguration
  /// Tenants of the file of namespaces.
  var file: TenantFile
  /// Whether that file was there.
  private(set) var hasFile: Bool
  /// Certificate and key; nil without TLS.
  let security: TLSServer?
  /// Hash of the bytes of certificate, key and authorities.
  let securityDigest: String

  /// Largest PEM file, in bytes.
  private static let pemBytesMax = 1 << 20

  /// Reads the files that `configuration` names.
  ///
  /// - Throws: all that is wrong with them, and names that are in both places.
  init(_ configuration: ServerConfiguration) throws(ConfigurationFault) {
    self.configuration = configuration
    var faults: [FieldFault] = []
    do throws(FieldFault) {
      (file, hasFile) = try TenantStore(path: configuration.namespacesFile).read()
    } catch {
      faults.append(error)
      (file, hasFile) = (TenantFile(), false)
    }
    do throws(FieldFault) {
      let digest = try Self.digest(of: configuration.tls)
      (security, securityDigest) = (try configuration.tls.makeServer(), digest)
    } catch {
      faults.append(error)
      (security, securityDigest) = (nil, "")
    }
    for tenant in configuration.tenants
    where file.tenants[tenant.name] != nil || file.leaving.contains(tenant.name) {
      faults.append(
        FieldFault(
          TenantFile.field, value: 2, limit: 1,
          "'\(tenant.name)' stands in the configuration too"))
    }
    guard faults.isEmpty else { throw ConfigurationFault(faults: faults) }
  }

  /// The same once the file of namespaces has been written.
  func withFile() -> ConfigurationState {
    var state = self
    state.hasFile = true
    return state
  }

  /// Who may enter what.
  var snapshot: TenantSnapshot {
    let development = try? NamespaceName(TenantDirectory.developmentName)
    return TenantSnapshot(
      configuration.tenants + file.tenants.values,
      development: configuration.hasDevelopmentNamespace ? development : nil,
      developmentLimits: configuration.developmentLimits)
  }

  /// What the configuration says at the moment, for connections that begin.
  var live: LiveValues { LiveValues(configuration, security: security) }

  /// What a reload would change from `old` on.
  ///
  /// - Throws: the keys that changed and cannot while the daemon runs, and a file of tenants that
  ///   has gone: that is no way to remove them all.
  func changes(from old: ConfigurationState) throws(ConfigurationFault) -> [String] {
    var changed: [String] = []
    var faults: [FieldFault] = []
    for (old, new) in zip(old.configuration.effective, configuration.effective)
    where old.value.texts != new.value.texts {
      precondition(old.setting.key == new.setting.key, "all settings in one order")
      changed.append(new.setting.key)
      if !new.setting.isReloadable {
        faults.append(
          FieldFault(new.setting.key, value: 0, limit: 0, "cannot change without a restart"))
      }
    }
    let hasSameFile = old.configuration.namespacesFile == configuration.namespacesFile
    if hasSameFile, old.hasFile, !hasFile {
      faults.append(
        FieldFault(TenantFile.field, value: 0, limit: 1, "the file has gone"))
    }
    guard faults.isEmpty else { throw ConfigurationFault(faults: faults) }
    if hasSameFile, old.file != file { changed.append(TenantFile.field) }
    if old.securityDigest != securityDigest, !changed.contains("tls_certificate") {
      changed.append("tls_certificate")
    }
    return changed
  }

  private static func digest(of tls: TLSSettings) throws(FieldFault) -> String {
    let paths = [
      ("tls_certificate", tls.certificatePath), ("tls_key", tls.keyPath),
      ("tls_client_ca", tls.clientCAPath),
    ]
    var all: [String] = []
    for case (let key, let path?) in paths {
      guard let bytes = try PrivateFile.read(path, bytesMax: pemBytesMax, field: key) else {
        throw FieldFault(key, value: 0, limit: 0, "there is no file '\(path)'")
      }
      all.append(TokenHash(of: String(decoding: bytes, as: UTF8.self)).hexadecimal)
    }
    return all.joined()
  }
}

extension ControlFault {
  /// All faults of a configuration; the first one names the field.
  init(_ fault: ConfigurationFault) {
    self.init(
      .badRequest, field: fault.faults.first?.field ?? "",
      fault.faults.map(\.description).joined(separator: "; "))
  }
}
