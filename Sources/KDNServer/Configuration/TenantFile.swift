internal import FoundationEssentials
package import KDNCore

/// What the file of namespaces holds: tenants that administrators change through the daemon.
package struct TenantFile: Equatable, Sendable {
  /// Grows when a field changes its meaning; files of another one are refused.
  static let schema = 1
  /// Largest file, in bytes.
  static let bytesMax = 4 << 20
  /// Most tenants.
  static let tenantsMax = 1024
  /// The setting that names the file, and the field of its faults.
  static let field = "namespaces_file"

  /// The tenants by name.
  package internal(set) var tenants: [NamespaceName: Tenant] = [:]
  /// Tenants that have been removed and whose objects may still be there: nobody may enter, and
  /// nobody else may have the name, until they are dropped.
  package internal(set) var leaving: Set<NamespaceName> = []

  /// A file without tenants.
  package init() {}

  /// Reads the bytes of a file.
  ///
  /// - Throws: a fault that names the setting and, in words, the place in the file.
  package init(_ bytes: [UInt8]) throws(FieldFault) {
    guard bytes.count <= Self.bytesMax else {
      throw FieldFault(
        Self.field, value: bytes.count, limit: Self.bytesMax, "the file is too large")
    }
    let document: TenantDocument
    do {
      document = try JSONDecoder().decode(TenantDocument.self, from: Data(bytes))
    } catch let error as DecodingError {
      throw FieldFault(Self.field, value: bytes.count, limit: 0, error.place)
    } catch {
      throw FieldFault(Self.field, value: bytes.count, limit: 0, "not JSON")
    }
    guard document.schema == Self.schema else {
      throw FieldFault(
        Self.field, value: document.schema, limit: Self.schema, "schema: not one that is known")
    }
    guard document.namespaces.count <= Self.tenantsMax else {
      throw FieldFault(
        Self.field, value: document.namespaces.count, limit: Self.tenantsMax,
        "namespaces: too many")
    }
    for entry in document.namespaces { try add(entry) }
  }

  /// The file's bytes; tokens that ended before `nowMilliseconds` are left out.
  package func bytes(nowMilliseconds: UInt64) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    var entries = tenants.values.map { tenant in
      var kept = tenant
      kept.tokens.removeAll { $0.isOver(nowMilliseconds: nowMilliseconds) }
      return TenantDocument.Entry(kept)
    }
    entries += leaving.map { TenantDocument.Entry(leaving: $0) }
    entries.sort { $0.name < $1.name }
    do {
      let document = TenantDocument(schema: Self.schema, namespaces: entries)
      return Array(try encoder.encode(document)) + [UInt8(ascii: "\n")]
    } catch {
      preconditionFailure("tenants could not be written as JSON: \(error)")
    }
  }

  private mutating func add(_ entry: TenantDocument.Entry) throws(FieldFault) {
    let name: NamespaceName
    do {
      name = try NamespaceName(entry.name)
    } catch {
      throw FieldFault(
        Self.field, value: error.value, limit: error.limit, "'\(entry.name)': \(error.problem)")
    }
    guard tenants[name] == nil, !leaving.contains(name) else {
      throw FieldFault(Self.field, value: 2, limit: 1, "'\(name)' stands there twice")
    }
    guard entry.leaving != true else {
      leaving.insert(name)
      return
    }
    let limits = NamespaceLimits(entry.limits)
    try limits.check(field: "\(Self.field): '\(name)'")
    try Tenant.checkCertificateNames(entry.certificateNames, field: "\(Self.field): '\(name)'")
    let codecs = try KeptCodecs(
      ram: entry.codecs?.ram, disk: entry.codecs?.disk, opaque: entry.codecs?.opaque,
      field: "\(Self.field): '\(name)'")
    tenants[name] = Tenant(
      name, limits: limits, tokens: try Self.tokens(entry, name),
      certificateNames: entry.certificateNames, codecs: codecs, source: .file)
  }

  private static func tokens(
    _ entry: TenantDocument.Entry, _ name: NamespaceName
  ) throws(FieldFault) -> [TenantToken] {
    let field = "\(Self.field): '\(name)'"
    var tokens: [TenantToken] = []
    for text in entry.tokens {
      let token = TenantToken(
        try TokenHash(hexadecimal: text.sha256, field: field),
        expiresUnixMilliseconds: text.expiresUnixMilliseconds)
      guard !tokens.contains(where: { $0.id == token.id }) else {
        throw FieldFault(field, value: 2, limit: 1, "two tokens are called \(token.id)")
      }
      tokens.append(token)
    }
    guard tokens.count <= TenantToken.countMax else {
      throw FieldFault(field, value: tokens.count, limit: TenantToken.countMax, "too many tokens")
    }
    return tokens
  }
}

extension Tenant {
  /// Checks names in certificates.
  ///
  /// - Throws: a fault that names `field` if there are too many, one is empty, too long or twice.
  static func checkCertificateNames(_ names: [String], field: String) throws(FieldFault) {
    guard names.count <= certificateNamesMax else {
      throw FieldFault(
        field, value: names.count, limit: certificateNamesMax, "too many certificate names")
    }
    for (index, name) in names.enumerated() {
      guard (1...certificateNameBytesMax).contains(name.utf8.count) else {
        throw FieldFault(
          field, value: name.utf8.count, limit: certificateNameBytesMax,
          "a certificate name has 1 to \(certificateNameBytesMax) bytes")
      }
      guard !names[..<index].contains(name) else {
        throw FieldFault(field, value: 2, limit: 1, "'\(name)' stands there twice")
      }
    }
  }
}

extension DecodingError {
  /// What is wrong and where, such as `namespaces.3.tokens.0.sha256: no such key`.
  fileprivate var place: String {
    let (context, last): (Context, (any CodingKey)?) =
      switch self {
      case .keyNotFound(let key, let context): (context, key)
      case .typeMismatch(_, let context), .valueNotFound(_, let context),
        .dataCorrupted(let context):
        (context, nil)
      @unknown default: (Context(codingPath: [], debugDescription: "not the JSON expected"), nil)
      }
    let path = (context.codingPath + [last].compactMap { $0 }).map { key in
      key.intValue.map { "\($0)" } ?? key.stringValue
    }
    let problem = last == nil ? context.debugDescription : "is missing"
    return path.isEmpty ? problem : "\(path.joined(separator: ".")): \(problem)"
  }
}
