internal import Glibc
internal import KDNTransport

/// What a connection does inside TLS.
extension StreamSocket {
  /// Prepares TLS for the connected socket `number`.
  ///
  /// - Throws: `cannotConnect` with the file that cannot be used.
  static func makeChannel(
    on number: Int32, _ options: TLSClientOptions, for endpoint: Endpoint
  ) throws(ClientError) -> TLSChannel {
    guard case .tcp(let host, _) = endpoint else {
      throw .cannotConnect("TLS is for TCP: \(endpoint)")
    }
    do throws(TLSFault) {
      let client = try TLSClient(
        authoritiesPath: options.authoritiesPath, certificatePath: options.certificatePath,
        keyPath: options.keyPath)
      return try client.makeChannel(on: number, host: options.serverName ?? host)
    } catch {
      throw .cannotConnect(error.description)
    }
  }

  /// Agrees on keys.
  ///
  /// - Throws: `cannotConnect` if the server is not the one it has to be, or refuses; `deadline`.
  func shakeHands(over channel: TLSChannel) throws(ClientError) {
    while true {
      switch channel.shakeHands() {
      case .bytes: return
      case .wantsRead: try wait(for: POLLIN)
      case .wantsWrite: try wait(for: Int32(POLLOUT))
      case .ended: throw .cannotConnect("TLS: \(channel.failure)")
      }
    }
  }

  /// Receives what is there; waits if nothing is.
  ///
  /// - Throws: `deadline`, or `lost` if the connection broke.
  func receive(
    over channel: TLSChannel, into first: UnsafeMutableRawBufferPointer,
    then second: UnsafeMutableRawBufferPointer
  ) throws(ClientError) -> Int {
    while true {
      switch unsafe channel.receive(into: first, then: second) {
      case .bytes(let count): return count
      case .wantsRead: try wait(for: POLLIN)
      case .wantsWrite: try wait(for: Int32(POLLOUT))
      case .ended:
        guard channel.failure.isEmpty else { throw .lost("TLS: \(channel.failure)") }
        return 0
      }
    }
  }

  /// Sends the first record of `pieces`; says how many bytes it had.
  ///
  /// - Throws: `deadline`, or `lost` if the connection broke.
  func sendRecord(
    over channel: TLSChannel, _ pieces: UnsafeMutableBufferPointer<iovec>
  ) throws(ClientError) -> Int {
    _ = unsafe channel.stageRecord(ofVectors: UnsafeMutableRawBufferPointer(pieces))
    while true {
      switch channel.sendStaged() {
      case .bytes(let count): return count
      case .wantsRead: try wait(for: POLLIN)
      case .wantsWrite: try wait(for: Int32(POLLOUT))
      case .ended: throw .lost("TLS: \(channel.failure.isEmpty ? "closed" : channel.failure)")
      }
    }
  }
}
