internal import Glibc
internal import KDNCore
internal import KDNMemory
internal import KDNWire

extension Connection {
  /// Maps a slab of which this connection holds bytes under a lease.
  ///
  /// - Returns: nil if the server refuses: the lease is over, or it passes no descriptor now; or if
  ///   this process has no room for the mapping.
  /// - Throws: whatever ends the connection, such as an answer without a descriptor.
  func slab(_ slabID: UInt64) throws(ClientError) -> SharedView? {
    if let view = slabs.find(slabID) { return view }
    let request = Request.mapSlab(MapSlabRequest(slabID: slabID))
    guard let view = try passed(request, limit: SlabViews.slabBytesMax, writable: false) else {
      // What this client keeps mapped may be what the server is short of.
      slabs = SlabViews()
      isSlabRefused = true
      return nil
    }
    slabs.keep(view, of: slabID)
    return view
  }

  /// Opens the window if that has not been tried; whether there is one.
  ///
  /// - Throws: whatever ends the connection.
  func openWindow() throws(ClientError) -> Bool {
    if window != nil { return true }
    guard !isWindowRefused else { return false }
    let wanted = PutWindow.wantedBytes
    let request = Request.openWindow(OpenWindowRequest(byteCount: wanted))
    guard let view = try passed(request, limit: wanted, writable: true) else {
      isWindowRefused = true
      return false
    }
    window = PutWindow(view)
    return true
  }

  /// Makes a request whose answer passes a descriptor, and maps it.
  private func passed(
    _ request: Request, limit: Int, writable: Bool
  ) throws(ClientError) -> SharedView? {
    socket.expectsDescriptor = true
    defer { socket.expectsDescriptor = false }
    try awaitRoom()
    let id = try encode(request, 0)
    try send()
    while true {
      switch try nextEvent() {
      case .response(id, .mapSlab(let answer)):
        return try map(answer.byteCount, limit: limit, id, request.operation, writable: writable)
      case .response(id, .openWindow(let answer)):
        return try map(answer.byteCount, limit: limit, id, request.operation, writable: writable)
      case .refused(id, let operation, _, _):
        guard socket.passed.count == 0 else {
          throw Self.fault(id, operation, "descriptors", 1, 0, "a refusal passes none")
        }
        return nil
      case let other: try pass(over: other)
      }
    }
  }

  private func map(
    _ byteCount: Int, limit: Int, _ id: UInt64, _ operation: KDNWire.Operation, writable: Bool
  ) throws(ClientError) -> SharedView? {
    guard let descriptor = socket.passed.next() else {
      throw Self.fault(id, operation, "descriptors", 0, 1, "no descriptor came with the answer")
    }
    guard byteCount <= limit else {
      _ = Glibc.close(descriptor)
      throw Self.fault(id, operation, "byteCount", byteCount, limit, "longer than may be mapped")
    }
    do {
      return try SharedView(mapping: descriptor, byteCount: byteCount, writable: writable)
    } catch {
      guard case .system(_, ENOMEM, _) = error else {
        throw Self.fault(id, operation, "descriptor", byteCount, byteCount, error.description)
      }
      return nil
    }
  }

  /// An answer that no server may give.
  static func fault(
    _ id: UInt64, _ operation: KDNWire.Operation, _ field: String, _ value: Int, _ limit: Int,
    _ problem: String
  ) -> ClientError {
    let fault = FieldFault(field, value: value, limit: limit, problem)
    return .protocolFault(.body(requestID: id, operation, fault))
  }
}
