internal import KDNCore
internal import KDNTransport

extension Connection {
  /// Fewest bytes of one request that the device moves even if they are not a device's; fewer go
  /// through the stream, by the processor.
  package static var remoteBytesMin: Int { inlineBytesMax + 1 }

  /// Registers memory of a GPU that its driver exported as a dmabuf, which may be closed then.
  ///
  /// Requests name it by `address` and what follows. This process never touches it: what a GET
  /// brings there is not verified, and a PUT from there needs its checksum from the caller.
  /// Untested without such hardware.
  ///
  /// - Throws: `unsendable` over another link than RDMA, if there are too many regions, or if the
  ///   driver refuses.
  package func register(
    dmabuf descriptor: Int32, offset: UInt64, byteCount: Int, address: UInt64
  ) throws(ClientError) -> RegisteredRegion {
    guard let endpoint = socket.endpoint else { throw .unsendable(Self.onDevice) }
    guard regions.hasRoom(), !address.addingReportingOverflow(UInt64(byteCount)).overflow else {
      let limit = RegisteredRegions.countMax
      throw .unsendable(FieldFault("regions", value: limit, limit: limit, "too many regions"))
    }
    do throws(RDMAFault) {
      let region = try RDMARegion(
        dmabuf: descriptor, offset: offset, byteCount: byteCount, address: address,
        access: [.remoteRead, .remoteWrite], in: endpoint.context)
      let registered = RegisteredRegion(
        address: address, byteCount: byteCount, region: region, isOnDevice: true)
      regions.keep(registered)
      return registered
    } catch {
      throw .unsendable(FieldFault("region", value: 0, limit: 0, error.description))
    }
  }

  /// Why a request with memory of a device is not sent.
  static let onDevice = FieldFault(
    "region", value: 0, limit: 1,
    "memory of a device takes part over RDMA only, all of it registered, and with a known checksum")
}
