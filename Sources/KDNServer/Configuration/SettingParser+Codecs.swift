internal import KDNCore
internal import KDNWire

extension SettingParser {
  /// Which objects are kept encoded.
  mutating func codecs() -> CodecSettings {
    let kept = KeptCodecs(
      ram: choice("codec_ram", KeptCodecs.layoutCodecs, else: .raw),
      disk: choice("codec_disk", KeptCodecs.layoutCodecs, else: .raw),
      opaque: choice("codec_opaque", KeptCodecs.opaqueCodecs, else: .raw))
    return CodecSettings(
      kept: kept, idleSecondsMin: count("codec_age", 0...31_536_000),
      processorPercent: count("codec_cpu", 1...10_000), development: .none)
  }

  /// What namespaces of the configuration say of codecs; returns what the development namespace
  /// does.
  mutating func namespaceCodecs(
    _ tenants: inout [Tenant], hasDevelopment: Bool
  ) -> KeptCodecs {
    var development: KeptCodecs?
    for text in texts("namespace_codecs") {
      _ = noting { _ throws(FieldFault) in
        try Self.addCodecs(text, to: &tenants, &development, hasDevelopment)
      }
    }
    return development ?? .none
  }

  private static func addCodecs(
    _ text: String, to tenants: inout [Tenant], _ development: inout KeptCodecs?,
    _ hasDevelopment: Bool
  ) throws(FieldFault) {
    let field = "namespace_codecs"
    let words = text.split(separator: " ")
    guard let name = words.first.map({ String($0) }) else {
      throw FieldFault(field, value: 0, limit: 1, "an entry is NAME TIER=CODEC…")
    }
    let codecs = try KeptCodecs(parsing: words.dropFirst(), field: field)
    let index = tenants.firstIndex { $0.name.text == name }
    let isDevelopment = hasDevelopment && name == TenantDirectory.developmentName
    guard index != nil || isDevelopment else {
      throw FieldFault(
        field, value: name.utf8.count, limit: 0, "'\(name)' is no namespace of the configuration")
    }
    let said = index.map { tenants[$0].codecs } ?? development
    guard said == nil || said == KeptCodecs.none else {
      throw FieldFault(field, value: 2, limit: 1, "'\(name)' stands there twice")
    }
    if let index { tenants[index].codecs = codecs } else { development = codecs }
  }
}
