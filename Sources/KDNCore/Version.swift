/// The version of KDN.
package enum Version {
  /// Major, minor, patch.
  package static let text = "0.1.0"
}
