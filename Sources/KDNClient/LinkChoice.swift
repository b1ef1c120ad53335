internal import KDNTransport

/// Which way of moving payload a client wants.
package enum LinkChoice: String, CaseIterable, Sendable {
  /// The best that is there: shared memory on the same host, RDMA where a route exists, else what
  /// the address names.
  case auto
  /// TCP, with TLS if the address says so.
  case tcp
  /// A Unix socket, payload in the stream.
  case unix
  /// Shared memory, with a Unix socket for control.
  case shm
  /// RDMA.
  case rdma
}

/// How a connection moves payload, and why so.
package struct ClientLink: Equatable, Sendable {
  /// A way of moving payload.
  package enum Kind: String, CaseIterable, Sendable {
    case tcp
    case tls
    case unix
    case shm
    case rdma
  }

  /// How payload is moved.
  package let kind: Kind
  /// Where the daemon was reached on this link.
  package let address: String
  /// Why this link, and why no better one; one line.
  package let reason: String

  /// Describes a link.
  package init(_ kind: Kind, address: String, reason: String) {
    self.kind = kind
    self.address = address
    self.reason = reason
  }

  /// The link that an address names.
  init(addressed endpoint: Endpoint, usesTLS: Bool) {
    let kind: Kind =
      switch endpoint {
      case .unix: .unix
      case .tcp: usesTLS ? .tls : .tcp
      }
    self.init(kind, address: endpoint.description, reason: "as addressed")
  }
}
