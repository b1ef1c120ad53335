extension Link {
  /// Begins to be watched on `loop` for what can be read; `member` hears of it.
  ///
  /// - Throws: if the kernel refuses.
  package func watch(on loop: isolated Loop, for member: any LoopMember) throws(TransportError) {
    precondition(token == nil, "a link is watched once")
    token = try loop.watch(number, for: member)
  }

  /// Chooses what the socket is watched for; without effect while it is not watched.
  package func update(readable: Bool, writable: Bool, on loop: isolated Loop) {
    guard let token else { return }
    loop.update(token, number, readable: readable, writable: writable)
  }

  /// Ends the watch; without effect while there is none.
  package func unwatch(on loop: isolated Loop) {
    guard let token else { return }
    loop.unwatch(token, number)
    self.token = nil
  }

  /// Who made the other end, by the kernel's word; nil if it is no Unix socket.
  package var peerCredentials: PeerCredentials? { PeerCredentials(ofSocket: number) }
}
