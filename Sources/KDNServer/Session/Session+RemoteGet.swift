internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// GET with the client's memory as the place: the server writes, then tells.
extension Session {
  /// Writes each hit to its region and queues the answer behind; a hit that is larger than its
  /// region is told of and not written.
  ///
  /// - Throws: `busy` if the device cannot be told of the memory that a hit lies in.
  func answerRemotely(
    _ reply: consuming GetReply, _ regions: [RemoteRegion], _ call: Call, on loop: isolated Loop
  ) throws(Refusal) {
    let link = remoteLink
    guard reply.canBeWritten(by: link) else { throw .unregistered }
    reply.write(over: link, regions, id: call.id, encoder: &encoder)
    ended(call, .ok, now: loop.now())
  }

  /// The link, where the machine has let a frame through that only RDMA can serve.
  var remoteLink: RDMALink {
    guard let link = link as? RDMALink else { preconditionFailure("the place was not granted") }
    return link
  }
}

extension Refusal {
  /// The kernel does not let a device reach memory of the arena now: inline works all the same.
  static var unregistered: Refusal {
    Refusal(
      .busy,
      FieldFault(
        "place", value: UInt64(PayloadPlace.remote.rawValue), limit: 0,
        "the device cannot reach the memory: see the limit of locked memory"),
      retryAfterMilliseconds: 1000)
  }
}

extension GetReply {
  /// Whether the device knows, or can be told of, all slabs that hits lie in.
  fileprivate borrowing func canBeWritten(by link: RDMALink) -> Bool {
    for index in 0..<hits.count {
      guard link.canTransfer(hits[index].lease.block.slab) else { return false }
    }
    return true
  }

  /// Queues WRITEs of what fits, and the answer behind them.
  fileprivate consuming func write(
    over link: RDMALink, _ regions: [RemoteRegion], id: UInt64, encoder: inout FrameEncoder
  ) {
    var next = 0
    for (descriptor, region) in zip(descriptors, regions) where descriptor.miss == nil {
      let first = next
      while !pieces[next].endsHit { next += 1 }
      next += 1
      let lease = hits.removeFirst().lease
      guard descriptor.sentBytes <= region.byteCount else { continue }
      let slab = lease.block.slab
      let runs = unsafe pieces[first..<next].map {
        unsafe UnsafeRawBufferPointer(start: $0.start, count: $0.count)
      }
      unsafe link.write(
        runs, of: slab, toAddress: region.address, key: region.key, keeping: lease)
    }
    var writer = ByteWriter(capacity: 192)
    let response = Response.get(GetResponse(descriptors: descriptors, place: .remote))
    encoder.response(response, id: id, to: &writer)
    // Not urgent: it must not pass the bytes it tells of.
    link.send(writer.bytes, isUrgent: false)
  }
}
