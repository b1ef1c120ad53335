internal import KDNCore

/// The file of namespaces on its device.
struct TenantStore: Sendable {
  /// Its path; nil if there is no such file, and so no tenant in it.
  let path: String?

  /// What the file holds, and whether it is there: before the first tenant it need not be.
  ///
  /// - Throws: a fault if it cannot be read or holds anything but tenants.
  func read() throws(FieldFault) -> (file: TenantFile, exists: Bool) {
    guard let path else { return (TenantFile(), false) }
    let found = try PrivateFile.read(
      path, bytesMax: TenantFile.bytesMax, field: TenantFile.field)
    guard let bytes = found else { return (TenantFile(), false) }
    return (try TenantFile(bytes), true)
  }

  /// Puts the file in place; it survives a crash when this returns.
  ///
  /// - Throws: a fault if there is no room or no right; the old file is there then.
  func write(_ file: TenantFile, nowMilliseconds: UInt64) throws(FieldFault) {
    guard let path else {
      throw FieldFault(TenantFile.field, value: 0, limit: 1, "no file is configured")
    }
    let bytes = file.bytes(nowMilliseconds: nowMilliseconds)
    guard bytes.count <= TenantFile.bytesMax else {
      throw FieldFault(
        TenantFile.field, value: bytes.count, limit: TenantFile.bytesMax, "the file is full")
    }
    try PrivateFile.replace(path, with: bytes, field: TenantFile.field)
  }
}
