import Foundation
import TestPrograms

/// An authority that signs certificates for one test, in a directory of its own.
final class TestAuthority {
  struct OpenSSLFailed: Error { let arguments: [String] }

  let folder: String
  /// The authority's own certificate.
  var authorityPath: String { path("ca.pem") }

  init() throws {
    folder = NSTemporaryDirectory() + "kdn-tls-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try Self.openssl(
      [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
        "-keyout", path("ca.key"), "-out", authorityPath, "-days", "2", "-subj", "/CN=test CA",
      ])
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  func path(_ name: String) -> String { "\(folder)/\(name)" }

  /// Signs a certificate; `names` are in the form of OpenSSL, such as `DNS:localhost,IP:127.0.0.1`.
  func sign(
    _ name: String, subject: String = "/CN=localhost",
    names: String = "DNS:localhost,IP:127.0.0.1"
  ) throws -> (certificate: String, key: String) {
    let files = (certificate: path("\(name).pem"), key: path("\(name).key"))
    try Self.openssl(
      [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
        "-CA", authorityPath, "-CAkey", path("ca.key"), "-keyout", files.key,
        "-out", files.certificate, "-days", "2", "-subj", subject,
        "-addext", "subjectAltName=\(names)", "-addext", "basicConstraints=critical,CA:false",
      ])
    return files
  }

  /// Runs the openssl command.
  static func openssl(_ arguments: [String]) throws {
    let code = try Program(["openssl"] + arguments).wait()
    guard code == 0 else { throw OpenSSLFailed(arguments: arguments) }
  }
}
