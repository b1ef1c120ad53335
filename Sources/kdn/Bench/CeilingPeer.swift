internal import ArgumentParser
internal import Dispatch
internal import KDNCore

/// The far side of the ceiling: sends and receives as fast as a plain loop can, from and into a
/// pool as large as the workload's.
struct CeilingPeer: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench-ceiling-peer", shouldDisplay: false)

  @Option var port: UInt16
  @Option var connections: Int
  @Option var bufferBytes: Int
  @Option var buffers: Int

  func run() throws {
    let pool = try BufferPool(count: buffers, bufferBytes: bufferBytes)
    let group = DispatchGroup()
    for number in 0..<connections {
      let socket = try PlainSocket(host: "127.0.0.1", port: port, target: "bench")
      let queue = DispatchQueue(label: "kdn.bench.peer.\(number)")
      queue.async(group: group) { Self.serve(socket, pool.buffers) }
    }
    group.wait()
    withExtendedLifetime(pool) {}
  }

  /// Serves one connection until it closes, or says what cannot be meant.
  private static func serve(_ socket: PlainSocket, _ buffers: [Buffer]) {
    var head = [UInt8](repeating: 0, count: CeilingRequest.byteCount)
    var question: [UInt8] = []
    var none: [UInt8] = []
    do {
      while true {
        try socket.receive(&head, tail: &none)
        let request = try CeilingRequest(decoding: head)
        guard request.slot + request.count <= buffers.count else { return }
        switch request.action {
        case .get:
          for slot in request.slot..<request.slot + request.count {
            try socket.send([], buffers[slot])
          }
        case .put:
          try socket.receive(into: buffers[request.slot])
          try socket.send(head)
        case .ask:
          if question.count != request.bytes {
            question = [UInt8](repeating: 0, count: request.bytes)
          }
          try socket.receive(&question, tail: &none)
          try socket.send(head)
        }
      }
    } catch {
      // The parent has closed, or is gone: either way the work is over.
      return
    }
  }
}
