internal import KDNCore

/// The file of namespaces as JSON says it; keys that nobody knows are refused.
struct TenantDocument: Codable {
  let schema: Int
  let namespaces: [Entry]

  /// One tenant.
  struct Entry: Codable {
    let name: String
    let limits: LimitTexts
    let tokens: [Token]
    let certificateNames: [String]
    let codecs: CodecTexts?
    let leaving: Bool?

    enum CodingKeys: String, CodingKey, CaseIterable {
      case name
      case limits
      case tokens
      case certificateNames = "certificate_names"
      case codecs
      case leaving
    }
  }

  /// One token.
  struct Token: Codable {
    let sha256: String
    let expiresUnixMilliseconds: UInt64?

    enum CodingKeys: String, CodingKey, CaseIterable {
      case sha256
      case expiresUnixMilliseconds = "expires_unix_milliseconds"
    }
  }

  /// The codecs that objects are kept in, where it is said.
  struct CodecTexts: Codable {
    var ram: String?
    var disk: String?
    var opaque: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
      case ram
      case disk
      case opaque
    }
  }

  /// The limits that there are.
  struct LimitTexts: Codable {
    var ramBytesMax: Int?
    var diskBytesMax: Int?
    var pinnedBytesMax: Int?
    var connectionsMax: Int?
    var requestsPerSecond: Int?
    var bytesPerSecond: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
      case ramBytesMax = "ram_bytes_max"
      case diskBytesMax = "disk_bytes_max"
      case pinnedBytesMax = "pinned_bytes_max"
      case connectionsMax = "connections_max"
      case requestsPerSecond = "requests_per_second"
      case bytesPerSecond = "bytes_per_second"
    }
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case schema
    case namespaces
  }
}

extension TenantDocument {
  /// Reads the document.
  ///
  /// - Throws: `DecodingError` that names the place.
  init(from decoder: any Decoder) throws {
    let values = try decoder.strict(CodingKeys.self)
    schema = try values.decode(Int.self, forKey: .schema)
    namespaces = try values.decode([Entry].self, forKey: .namespaces)
  }
}

extension TenantDocument.Entry {
  init(_ tenant: Tenant) {
    name = tenant.name.text
    limits = TenantDocument.LimitTexts(tenant.limits)
    tokens = tenant.tokens.map {
      TenantDocument.Token(
        sha256: $0.hash.hexadecimal, expiresUnixMilliseconds: $0.expiresUnixMilliseconds)
    }
    certificateNames = tenant.certificateNames
    codecs = tenant.codecs == .none ? nil : TenantDocument.CodecTexts(tenant.codecs)
    leaving = nil
  }

  init(leaving name: NamespaceName) {
    self.name = name.text
    limits = TenantDocument.LimitTexts(.none)
    tokens = []
    certificateNames = []
    codecs = nil
    leaving = true
  }

  init(from decoder: any Decoder) throws {
    let values = try decoder.strict(CodingKeys.self)
    name = try values.decode(String.self, forKey: .name)
    let limits = try values.decodeIfPresent(TenantDocument.LimitTexts.self, forKey: .limits)
    self.limits = limits ?? TenantDocument.LimitTexts(.none)
    tokens = try values.decodeIfPresent([TenantDocument.Token].self, forKey: .tokens) ?? []
    certificateNames = try values.decodeIfPresent([String].self, forKey: .certificateNames) ?? []
    codecs = try values.decodeIfPresent(TenantDocument.CodecTexts.self, forKey: .codecs)
    leaving = try values.decodeIfPresent(Bool.self, forKey: .leaving)
  }
}

extension TenantDocument.Token {
  init(from decoder: any Decoder) throws {
    let values = try decoder.strict(CodingKeys.self)
    sha256 = try values.decode(String.self, forKey: .sha256)
    expiresUnixMilliseconds = try values.decodeIfPresent(
      UInt64.self, forKey: .expiresUnixMilliseconds)
  }
}

extension TenantDocument.CodecTexts {
  init(_ kept: KeptCodecs) {
    ram = kept.ram?.settingName
    disk = kept.disk?.settingName
    opaque = kept.opaque?.settingName
  }

  init(from decoder: any Decoder) throws {
    let values = try decoder.strict(CodingKeys.self)
    ram = try values.decodeIfPresent(String.self, forKey: .ram)
    disk = try values.decodeIfPresent(String.self, forKey: .disk)
    opaque = try values.decodeIfPresent(String.self, forKey: .opaque)
  }
}

extension TenantDocument.LimitTexts {
  init(_ limits: NamespaceLimits) {
    ramBytesMax = limits.ramBytesMax
    diskBytesMax = limits.diskBytesMax
    pinnedBytesMax = limits.pinnedBytesMax
    connectionsMax = limits.connectionsMax
    requestsPerSecond = limits.requestsPerSecond
    bytesPerSecond = limits.bytesPerSecond
  }

  init(from decoder: any Decoder) throws {
    let values = try decoder.strict(CodingKeys.self)
    ramBytesMax = try values.decodeIfPresent(Int.self, forKey: .ramBytesMax)
    diskBytesMax = try values.decodeIfPresent(Int.self, forKey: .diskBytesMax)
    pinnedBytesMax = try values.decodeIfPresent(Int.self, forKey: .pinnedBytesMax)
    connectionsMax = try values.decodeIfPresent(Int.self, forKey: .connectionsMax)
    requestsPerSecond = try values.decodeIfPresent(Int.self, forKey: .requestsPerSecond)
    bytesPerSecond = try values.decodeIfPresent(Int.self, forKey: .bytesPerSecond)
  }
}

extension NamespaceLimits {
  init(_ texts: TenantDocument.LimitTexts) {
    self.init(
      ramBytesMax: texts.ramBytesMax, diskBytesMax: texts.diskBytesMax,
      pinnedBytesMax: texts.pinnedBytesMax, connectionsMax: texts.connectionsMax,
      requestsPerSecond: texts.requestsPerSecond, bytesPerSecond: texts.bytesPerSecond)
  }
}

/// Any key of a JSON object.
private struct AnyKey: CodingKey {
  let stringValue: String
  var intValue: Int? { nil }

  init(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}

extension Decoder {
  /// The keyed values, if there are no others than those of `Key`.
  fileprivate func strict<Key: CodingKey & CaseIterable>(
    _ type: Key.Type
  ) throws -> KeyedDecodingContainer<Key> {
    let known = Set(type.allCases.map(\.stringValue))
    let all = try container(keyedBy: AnyKey.self)
    for key in all.allKeys where !known.contains(key.stringValue) {
      throw DecodingError.dataCorrupted(
        DecodingError.Context(
          codingPath: codingPath + [key], debugDescription: "no such key"))
    }
    return try container(keyedBy: type)
  }
}
