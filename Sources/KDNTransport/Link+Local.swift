extension Link {
  /// Where the connection was accepted; nil if the kernel does not tell.
  package var localEndpoint: Endpoint? { SocketAddress.boundEndpoint(of: number) }
}
