public import CKDN
internal import Glibc
internal import KDNClient
internal import KDNCore

/// `kdn_options`, read and checked.
private struct Options {
  let address: ServerAddress
  let namespace: NamespaceName
  let token: String
  let agent: String
  let link: LinkChoice
  let tls: TLSClientOptions?
  let timeoutMilliseconds: Int
  let flags: UInt32

  private static let timeoutMillisecondsDefault: UInt32 = 5_000
  /// Longest structure that a caller may come with.
  private static let sizeMax = 4096
  private static let textBytesMax = 4096

  init(_ pointer: UnsafePointer<kdn_options>?) throws(Failure) {
    guard let pointer = unsafe pointer else { throw .invalid("options is NULL") }
    try unsafe Self.checkSize(pointer)
    let options = unsafe pointer.pointee
    let address = try unsafe Self.text(options.address, "address") ?? ""
    let namespace = try unsafe Self.text(options.namespace_name, "namespace_name") ?? ""
    do throws(FieldFault) {
      self.address = try ServerAddress(parsing: address, field: "address")
      self.namespace = try NamespaceName(namespace)
    } catch {
      throw Failure(error)
    }
    token = try unsafe Self.text(options.token, "token") ?? ""
    agent = try unsafe Self.text(options.agent, "agent") ?? "libkdn/\(Version.text)"
    let name = try unsafe Self.text(options.link, "link") ?? LinkChoice.auto.rawValue
    guard let link = LinkChoice(rawValue: name) else {
      throw .invalid("link: '\(name)' is not auto, tcp, unix, shm or rdma")
    }
    self.link = link
    tls = try unsafe Self.tls(options, usesTLS: self.address.usesTLS)
    let timeout = unsafe options.connect_timeout_ms
    timeoutMilliseconds = Int(timeout == 0 ? Self.timeoutMillisecondsDefault : timeout)
    flags = unsafe options.flags
    let known = UInt32(KDN_CONNECT_RDMA_TRUSTED | KDN_CONNECT_UNVERIFIED)
    guard flags & ~known == 0 else { throw .invalid("flags: \(flags) has unknown bits") }
  }

  /// A caller of a newer header may come with more, of which nothing may be asked for.
  private static func checkSize(_ pointer: UnsafePointer<kdn_options>) throws(Failure) {
    let size = unsafe pointer.pointee.size
    let known = unsafe MemoryLayout<kdn_options>.size
    guard size >= known, size <= sizeMax else {
      throw .invalid("size: \(size) bytes of options, where \(known) are known")
    }
    let rest = unsafe UnsafeRawBufferPointer(
      start: UnsafeRawPointer(pointer) + known, count: size - known)
    guard unsafe rest.allSatisfy({ $0 == 0 }) else {
      throw .invalid("size: the options ask for what this version does not know")
    }
  }

  private static func tls(
    _ options: kdn_options, usesTLS: Bool
  ) throws(Failure) -> TLSClientOptions? {
    let tls = try unsafe TLSClientOptions(
      authoritiesPath: text(options.tls_authorities, "tls_authorities"),
      certificatePath: text(options.tls_certificate, "tls_certificate"),
      keyPath: text(options.tls_key, "tls_key"),
      serverName: text(options.tls_server_name, "tls_server_name"))
    return usesTLS || tls != TLSClientOptions() ? tls : nil
  }

  /// Reads text of the caller's; nil for NULL.
  private static func text(
    _ start: UnsafePointer<CChar>?, _ field: String
  ) throws(Failure) -> String? {
    guard let start = unsafe start else { return nil }
    guard unsafe strnlen(start, textBytesMax + 1) <= textBytesMax else {
      throw .invalid("\(field): longer than \(textBytesMax) bytes")
    }
    guard let text = unsafe String(validatingCString: start) else {
      throw .invalid("\(field): not UTF-8")
    }
    return text
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_abi_version() -> UInt32 { UInt32(KDN_ABI_VERSION) }

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_version() -> UnsafePointer<CChar>? { unsafe UnsafePointer(versionText.start) }

private let versionText = HeldText(Version.text)

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_connect(
  _ options: UnsafePointer<kdn_options>?,
  _ client: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
  call { () throws(Failure) in
    guard let client = unsafe client else { throw .invalid("client is NULL") }
    unsafe client.pointee = nil
    let options = unsafe try Options(options)
    do throws(ClientError) {
      let connection = try Connection.open(
        options.address, namespace: options.namespace, token: options.token,
        agent: options.agent, link: options.link,
        trustsRDMA: options.flags & UInt32(KDN_CONNECT_RDMA_TRUSTED) != 0,
        connectTimeoutMilliseconds: options.timeoutMilliseconds, tls: options.tls)
      connection.verifies = options.flags & UInt32(KDN_CONNECT_UNVERIFIED) == 0
      unsafe client.pointee = ClientHandle(connection).pointer
    } catch {
      throw Failure(error)
    }
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_close(_ client: OpaquePointer?) {
  guard let handle = unsafe ClientHandle.take(client) else { return }
  _ = call { () throws(Failure) in
    try handle.use { (connection) throws(Failure) in connection.close() }
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_is_open(_ client: OpaquePointer?) -> Int32 {
  var isOpen = false
  _ = call { () throws(Failure) in
    isOpen = unsafe try ClientHandle.behind(client).use { (connection) throws(Failure) in
      connection.isOpen
    }
  }
  return isOpen ? 1 : 0
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_link(_ client: OpaquePointer?) -> UnsafePointer<CChar>? {
  unsafe text(of: client) { $0.link }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_link_address(_ client: OpaquePointer?) -> UnsafePointer<CChar>? {
  unsafe text(of: client) { $0.linkAddress }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_link_reason(_ client: OpaquePointer?) -> UnsafePointer<CChar>? {
  unsafe text(of: client) { $0.linkReason }
}

/// Text that lives as long as the handle.
private func text(
  of client: OpaquePointer?, _ choose: (ClientHandle) -> HeldText
) -> UnsafePointer<CChar>? {
  var text: HeldText?
  _ = call { () throws(Failure) in text = choose(unsafe try ClientHandle.behind(client)) }
  return unsafe UnsafePointer(text?.start)
}
