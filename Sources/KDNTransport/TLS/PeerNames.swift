internal import COpenSSL
internal import Glibc

/// Reads names out of certificates.
enum PeerNames {
  /// Front of each common name; no DNS name and no URI begins like that.
  private static let commonNamePrefix = "CN="
  /// Most names that are read of one certificate.
  private static let countMax = 64

  /// DNS names in lower case, URIs, and common names as `CN=…`, of a certificate that was verified.
  ///
  /// Names that could be taken for others are left out: with control bytes, spaces, or the front of
  /// another kind.
  static func all(of certificate: OpaquePointer) -> [String] {
    var found: [String] = []
    if let names = unsafe kdn_tls_names(certificate) {
      for index in 0..<min(unsafe kdn_tls_names_count(names), Int32(countMax)) {
        if let name = unsafe kdn_tls_name(names, index, Int32(GEN_DNS)) {
          if let text = unsafe text(of: name)?.lowercased(), isHostName(text) {
            found.append(text)
          }
        } else if let name = unsafe kdn_tls_name(names, index, Int32(GEN_URI)) {
          if let text = unsafe text(of: name), isURI(text) { found.append(text) }
        }
      }
      unsafe kdn_tls_names_free(names)
    }
    return unsafe found + commonNames(of: certificate)
  }

  /// The subject of a certificate as far as its common names go, or a hint that it has none.
  static func subject(of certificate: OpaquePointer) -> String {
    unsafe commonNames(of: certificate).first ?? "(no common name)"
  }

  /// When a certificate ends, in seconds since 1970; 0 if that cannot be read.
  static func endOfLife(of certificate: OpaquePointer) -> Int {
    var time = unsafe tm()
    guard unsafe ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &time) == 1 else { return 0 }
    return unsafe timegm(&time)
  }

  private static func commonNames(of certificate: OpaquePointer) -> [String] {
    guard let subject = unsafe X509_get_subject_name(certificate) else { return [] }
    var found: [String] = []
    var index = unsafe X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
    while index >= 0, found.count < countMax {
      let entry = unsafe X509_NAME_get_entry(subject, index)
      if let value = unsafe X509_NAME_ENTRY_get_data(entry), let text = unsafe text(of: value) {
        found.append(commonNamePrefix + text)
      }
      index = unsafe X509_NAME_get_index_by_NID(subject, NID_commonName, index)
    }
    return found
  }

  /// The text of an ASN.1 string; nil if it is empty or has bytes that do not print.
  private static func text(of value: UnsafePointer<ASN1_STRING>) -> String? {
    var bytes: UnsafeMutablePointer<UInt8>?
    let count = unsafe ASN1_STRING_to_UTF8(&bytes, value)
    guard count > 0, let start = unsafe bytes else { return nil }
    defer { unsafe kdn_tls_free(start) }
    let buffer = unsafe UnsafeBufferPointer(start: start, count: Int(count))
    guard unsafe buffer.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return nil }
    return unsafe String(validating: buffer, as: UTF8.self)
  }

  private static func isHostName(_ text: String) -> Bool {
    text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
      case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "*"): true
      default: false
      }
    }
  }

  private static func isURI(_ text: String) -> Bool {
    guard let colon = text.firstIndex(of: ":"), !text.hasPrefix(commonNamePrefix) else {
      return false
    }
    let scheme = text[..<colon]
    return !scheme.isEmpty && scheme.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) }
      && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
  }
}
