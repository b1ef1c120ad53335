internal import KDNCore
internal import KDNTransport
internal import KDNWire

extension Connection {
  /// Most pieces of one object that are registered for its store alone; more come in the stream.
  private static let piecesPerStoreMax = 256

  /// Registers memory, so that requests that use it need not do so each time.
  ///
  /// The server can write and read it while the connection lasts. It must stay mapped until the
  /// region is released or the connection has ended. On links other than RDMA nothing is done.
  ///
  /// - Throws: `unsendable` if there are too many, or if the kernel refuses: mostly for the limit
  ///   of locked memory.
  @unsafe package func register(
    _ bytes: UnsafeMutableRawBufferPointer
  ) throws(ClientError) -> RegisteredRegion {
    let address = UInt64(UInt(bitPattern: bytes.baseAddress))
    guard let endpoint = socket.endpoint, unsafe !bytes.isEmpty else {
      return RegisteredRegion(address: address, byteCount: 0, region: nil)
    }
    guard regions.hasRoom() else {
      let limit = RegisteredRegions.countMax
      throw .unsendable(FieldFault("regions", value: limit, limit: limit, "too many regions"))
    }
    do throws(RDMAFault) {
      let region = unsafe try RDMARegion(
        bytes, access: [.remoteRead, .remoteWrite], in: endpoint.context)
      let registered = RegisteredRegion(
        address: address, byteCount: bytes.count, region: region)
      regions.keep(registered)
      return registered
    } catch {
      throw .unsendable(FieldFault("region", value: 0, limit: 0, error.description))
    }
  }

  /// Names memory for a request; nil if the kernel does not let it be registered.
  private func lend(_ bytes: UnsafeMutableRawBufferPointer, _ access: RDMAAccess) -> RemoteLoan? {
    guard let endpoint = socket.endpoint, let base = bytes.baseAddress else { return nil }
    let address = UInt64(UInt(bitPattern: base))
    let count = bytes.count
    let known = regions.find(address, count)
    let region =
      known?.region ?? (unsafe try? RDMARegion(bytes, access: access, in: endpoint.context))
    guard let region else { return nil }
    return RemoteLoan(
      region: RemoteRegion(address: address, key: region.remoteKey, byteCount: count),
      hold: region, isOnDevice: known?.isOnDevice == true)
  }

  // MARK: GET

  /// Has the server write items into the caller's buffers.
  ///
  /// - Returns: nil if a buffer cannot be registered; then nothing was sent.
  func getRemote(
    _ items: [GetRequest.Item], into buffers: [UnsafeMutableRawBufferPointer],
    _ terms: GetTerms, checks: Bool, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> [GetResult]? {
    var loans: [RemoteLoan] = []
    for index in unsafe buffers.indices {
      guard let loan = unsafe loan(of: buffers[index]) else { return nil }
      loans.append(loan)
    }
    let request = terms.request(items, place: .remote(loans.map(\.region)))
    let answer = try answer(to: request, deadlineMilliseconds).answer
    // The answer was sent behind the last write: from here on the server has no business there.
    return withExtendedLifetime(loans) {
      items.indices.map { index in
        unsafe check(
          answer.descriptors[index], request, index, buffers[index],
          checks && !loans[index].isOnDevice)
      }
    }
  }

  private func loan(of buffer: UnsafeMutableRawBufferPointer) -> RemoteLoan? {
    guard unsafe !buffer.isEmpty else {
      return RemoteLoan(region: RemoteRegion(address: 0, key: 0, byteCount: 0), hold: nil)
    }
    return unsafe lend(buffer, .remoteWrite)
  }

  private func check(
    _ descriptor: GetDescriptor, _ request: GetRequest, _ index: Int,
    _ buffer: UnsafeMutableRawBufferPointer, _ checks: Bool
  ) -> GetResult {
    if let miss = descriptor.miss { return .miss(miss) }
    let count = descriptor.sentBytes
    guard count <= buffer.count else { return .noRoom(bytes: count) }
    guard descriptor.answers(request, index, verifies: checks) else { return .miss(.corrupt) }
    progress?(count, count)
    let hit = GetResult(hit: descriptor)
    guard checks else { return hit }
    checksum.reset()
    unsafe checksum.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    return checksum.digest() == descriptor.sentChecksum ? hit : .miss(.corrupt)
  }

  // MARK: PUT

  /// Memory of a store that the server may read; nil if it is to be sent in the stream.
  func loans(of item: PutItem) -> [RemoteLoan]? {
    guard link.kind == .rdma, unsafe item.pieces.count <= Self.piecesPerStoreMax,
      unsafe item.facts.totalBytes > Self.inlineBytesMax || isOnDevice(item)
    else { return nil }
    var loans: [RemoteLoan] = []
    for index in unsafe item.pieces.indices where unsafe !item.pieces[index].isEmpty {
      // The device only reads it, but registers what it may write itself.
      let piece = unsafe UnsafeMutableRawBufferPointer(mutating: item.pieces[index])
      guard let loan = unsafe lend(piece, .remoteRead) else { return nil }
      loans.append(loan)
    }
    return loans
  }

  /// Whether some of a store's bytes are a device's.
  func isOnDevice(_ item: PutItem) -> Bool {
    unsafe item.pieces.indices.contains { unsafe regions.isOnDevice(item.pieces[$0]) }
  }

  /// Has the server read the bytes of a store, what lies in `outgoing` sent in front.
  ///
  /// - Returns: the checksum for COMMIT, until whose answer the loans must last.
  func sendRemotely(
    _ item: PutItem, _ loans: [RemoteLoan], _ transfer: UInt64
  ) throws(ClientError) -> Checksum {
    var offset = 0
    for loan in loans {
      let data = PutDataRequest(
        transferID: transfer, offset: UInt64(offset), source: .remote(loan.region))
      encoder.request(.putData(data), id: transfer, to: &outgoing)
      offset += loan.region.byteCount
    }
    try send()
    let known = unsafe item.checksum
    if known == nil {
      checksum.reset()
      unsafe addToChecksum(item.pieces)
    }
    progress?(offset, offset)
    return known ?? checksum.digest()
  }
}
