internal import Glibc
internal import KDNCore

/// What tells whether two processes run on one host.
package enum HostIdentity {
  /// Bytes of an identity.
  package static let byteCount = 16
  private static let bootIDPath = "/proc/sys/kernel/random/boot_id"
  private static let textBytesMax = 128

  /// 16 bytes that are the same for all processes of this host between two of its starts: the
  /// front of the SHA-256 of the kernel's boot id.
  ///
  /// - Returns: nil where the kernel does not tell.
  package static func ofThisHost() -> [UInt8]? {
    let descriptor = unsafe Glibc.open(bootIDPath, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { _ = close(descriptor) }
    var text = [UInt8](repeating: 0, count: textBytesMax)
    let count = unsafe read(descriptor, &text, text.count)
    guard count > 0 else { return nil }
    return identity(ofBootID: Array(text[..<count]))
  }

  /// The identity of a host whose kernel gives `bootID`, with or without a newline at its end.
  package static func identity(ofBootID bootID: [UInt8]) -> [UInt8] {
    let text = bootID.last == UInt8(ascii: "\n") ? Array(bootID.dropLast()) : bootID
    return Array(HashChain.opaque(text).bytes.prefix(byteCount))
  }
}
