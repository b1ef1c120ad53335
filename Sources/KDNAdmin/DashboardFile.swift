internal import Crypto

/// One file of the dashboard, as it is served.
package struct DashboardFile: Sendable {
  /// The body, encoded as `contentEncoding` says.
  package let bytes: [UInt8]
  /// Value of Content-Type.
  package let contentType: String
  /// Value of Content-Encoding; nil for a body as it is.
  package let contentEncoding: String?
  /// Value of ETag, quotes included: it changes when the body does.
  package let etag: String

  /// Describes a file by its name; `.gz` at the end of it means that the bytes are compressed.
  package init(named name: String, _ bytes: [UInt8]) {
    let isCompressed = name.hasSuffix(".gz")
    let plainName = isCompressed ? name.dropLast(3) : name[...]
    self.bytes = bytes
    contentType = Self.contentType(of: plainName)
    contentEncoding = isCompressed ? "gzip" : nil
    let digits = SHA256.hash(data: bytes).prefix(12).map { byte in
      (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
    etag = "\"\(digits.joined())\""
  }

  private static func contentType(of name: Substring) -> String {
    switch name.split(separator: ".").last {
    case "html": "text/html; charset=utf-8"
    case "css": "text/css; charset=utf-8"
    case "js": "text/javascript; charset=utf-8"
    case "svg": "image/svg+xml"
    default: "text/plain; charset=utf-8"
    }
  }
}
