internal import KDNCore
internal import KDNTransport

/// Whether this host has a device for RDMA.
enum RemoteDevices {
  /// Why nothing can be reached over RDMA from here; nil if there is a device.
  static var obstacle: String? {
    guard case .failure(let fault) = RDMADevice.discover() else { return nil }
    return fault.description
  }
}

/// What a connection does over RDMA: the same stream, in messages of a queue pair.
extension StreamSocket {
  /// Bytes that are handed to the connection at once, and that may wait in it.
  private static let remotePieceBytes = 64 << 10

  /// Connects to `endpoint` over RDMA.
  ///
  /// - Throws: `cannotConnect` with what failed.
  init(connectingRemotely endpoint: Endpoint, timeoutMilliseconds: UInt64) throws(ClientError) {
    let deadline = SystemClock().now().advanced(milliseconds: timeoutMilliseconds)
    do throws(RDMAFault) {
      self.init(over: try RDMADialler.connect(to: endpoint, deadline: deadline))
    } catch {
      throw .cannotConnect("\(endpoint): \(error)")
    }
  }

  /// Receives what is there; waits if nothing is.
  ///
  /// - Throws: `deadline`, `lost`, or `protocolFault` if the server breaks the stream's rules.
  func receive(
    over endpoint: RDMAEndpoint, into first: UnsafeMutableRawBufferPointer,
    then second: UnsafeMutableRawBufferPointer
  ) throws(ClientError) -> Int {
    while true {
      switch unsafe endpoint.receive(into: first, then: second) {
      case .bytes(let count): return count
      case .ended: return 0
      case .wouldBlock: try wait(for: endpoint)
      }
    }
  }

  /// Sends all bytes of `front`, of `places` and of `back` in this order.
  ///
  /// - Throws: `deadline`, or `lost` if the connection broke.
  func send(
    over endpoint: RDMAEndpoint, _ front: [UInt8], _ places: [UnsafeRawBufferPointer],
    _ back: [UInt8]
  ) throws(ClientError) {
    if !front.isEmpty { endpoint.send(front) }
    for index in unsafe places.indices {
      var rest = unsafe places[index]
      while unsafe !rest.isEmpty {
        let piece = unsafe UnsafeRawBufferPointer(rebasing: rest.prefix(Self.remotePieceBytes))
        unsafe rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(piece.count))
        endpoint.send(unsafe Array(piece))
        while endpoint.queuedBytes > Self.remotePieceBytes { try wait(for: endpoint) }
      }
    }
    if !back.isEmpty { endpoint.send(back) }
    guard endpoint.poll() || endpoint.hasBufferedInput else {
      throw Self.error(endpoint.fault ?? .disconnected)
    }
  }

  private func wait(for endpoint: RDMAEndpoint) throws(ClientError) {
    do throws(RDMAFault) {
      try endpoint.wait(until: deadline)
    } catch {
      throw Self.error(error)
    }
  }

  private static func error(_ fault: RDMAFault) -> ClientError {
    switch fault {
    case .deadline: .deadline
    case .violation(let fault): .protocolFault(.header(fault))
    default: .lost("RDMA: \(fault)")
    }
  }
}
