internal import CRDMACM
internal import Glibc
package import KDNCore

extension RDMAEndpoint {
  /// Sleeps until there is something to poll, and polls; for a connection that no loop watches.
  ///
  /// It may return without anything new. Input that waits to be taken ends the sleep at once.
  /// - Throws: `deadline`, or the fault if the connection is over and nothing is left to be read.
  package func wait(until deadline: Instant) throws(RDMAFault) {
    guard poll() else { throw fault ?? .disconnected }
    guard !hasBufferedInput else { return }
    let clock = SystemClock()
    let left = clock.now().milliseconds(until: deadline)
    guard left > 0 else { throw .deadline }
    let events = pair.identifier.channel.number
    var entries = (
      pollfd(fd: channelNumber, events: Int16(POLLIN), revents: 0),
      pollfd(fd: events, events: Int16(POLLIN), revents: 0)
    )
    let ready = unsafe withUnsafeMutablePointer(to: &entries) { entries in
      // Safe because: a tuple of two equal structures lies in memory as an array of them does.
      unsafe entries.withMemoryRebound(to: pollfd.self, capacity: 2) {
        unsafe Glibc.poll($0, 2, Int32(clamping: left))
      }
    }
    guard ready != 0 else { throw .deadline }
    takeEvents()
    guard poll() else { throw fault ?? .disconnected }
  }

  /// Looks at what the connection manager tells a client.
  private func takeEvents() {
    while let event = pair.identifier.channel.next() {
      switch event.kind {
      case RDMA_CM_EVENT_DISCONNECTED: ended(.disconnected)
      case RDMA_CM_EVENT_DEVICE_REMOVAL: ended(.deviceRemoved)
      default: break
      }
    }
  }
}
