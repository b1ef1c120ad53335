internal import Glibc

extension Link {
  /// Tells the other side that nothing follows what has been sent, so that it reads all of it and
  /// then the end, though it may still be sending; call it when nothing is queued.
  package func finishSending() {
    channel?.sayGoodbye()
    _ = shutdown(number, Int32(SHUT_WR))
  }
}
