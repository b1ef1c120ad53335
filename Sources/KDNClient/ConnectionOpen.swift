package import KDNCore

extension Connection {
  /// Connects to `address` on the best link that `link` allows, and greets the server, all within
  /// `connectTimeoutMilliseconds`.
  ///
  /// `connection.link` tells which it became, and why. With `auto` the connection begins where the
  /// address says. On a Unix socket it shares memory if that is offered. From TCP or TLS it moves,
  /// with a one-time ticket, to shared memory on the same host, else to RDMA where there is a
  /// device and a route, else it stays. The token itself goes over RDMA only to an address
  /// `rdma://…` and if the fabric is trusted.
  ///
  /// - Throws: `cannotConnect` with the reasons if the link asked for cannot be had, `refused` with
  ///   the answer to HELLO, or whatever ends a connection.
  package static func open(
    _ address: ServerAddress, namespace: NamespaceName, token: String = "", agent: String = "kdn",
    link: LinkChoice = .auto, trustsRDMA: Bool = false, connectTimeoutMilliseconds: Int = 5_000,
    tls: TLSClientOptions? = nil
  ) throws(ClientError) -> Connection {
    let opening = LinkOpening(
      namespace: namespace, token: token, agent: agent, trustsRDMA: trustsRDMA, tls: tls,
      timeoutMilliseconds: connectTimeoutMilliseconds)
    return try opening.open(address, link)
  }
}
