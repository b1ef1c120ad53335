package import KDNCore

/// HELLO: who the client is and which protocol versions it speaks.
package struct HelloRequest: FrameBody {
  /// Oldest protocol version that the client speaks.
  package let minVersion: UInt16
  /// Newest protocol version that the client speaks.
  package let maxVersion: UInt16
  /// The namespace asked for, 1 to 128 bytes; whether it exists is for the server to say.
  package let namespace: String
  /// The secret, 0 to 512 bytes.
  package let token: String
  /// Whether the secret is a ticket of LINK_TICKET, as 64 hex digits.
  package let usesTicket: Bool
  /// The client's name and version, 0 to 256 bytes, for logs.
  package let agent: String

  /// Longest token, in bytes.
  package static let tokenBytesMax = 512
  /// Longest agent, in bytes.
  package static let agentBytesMax = 256
  private static let ticketFlag: UInt32 = 1

  /// Creates the request of a client that speaks version 1; strings are cut to their limits.
  package init(namespace: NamespaceName, token: String = "", agent: String = "") {
    minVersion = UInt16(FrameHeader.version)
    maxVersion = UInt16(FrameHeader.version)
    self.namespace = namespace.text
    self.token = token
    usesTicket = false
    self.agent = agent
  }

  /// Creates the request of a client that speaks version 1 and shows a ticket.
  package init(namespace: NamespaceName, ticket: LinkTicket, agent: String = "") {
    minVersion = UInt16(FrameHeader.version)
    maxVersion = UInt16(FrameHeader.version)
    self.namespace = namespace.text
    token = ticket.text
    usesTicket = true
    self.agent = agent
  }

  /// The ticket shown, if it is one.
  package var ticket: LinkTicket? { usesTicket ? LinkTicket(text: token) : nil }

  /// Decodes a whole body.
  ///
  /// - Throws: a fault that names `minVersion` if the client is too new for this build (status
  ///   `unsupported`), `maxVersion`, `flags`, `namespace`, `token`, `agent` or `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 8)
    minVersion = try reader.take("minVersion")
    maxVersion = try reader.take("maxVersion")
    let version = UInt16(FrameHeader.version)
    guard maxVersion >= max(minVersion, version) else {
      throw FieldFault(
        "maxVersion", value: UInt64(maxVersion), limit: UInt64(max(minVersion, version)),
        "newest version is below the oldest")
    }
    guard minVersion <= version else {
      throw FieldFault(
        "minVersion", value: UInt64(minVersion), limit: UInt64(version), "no common version")
    }
    let flags: UInt32 = try reader.take("flags")
    guard flags & ~Self.ticketFlag == 0 else {
      throw FieldFault("flags", value: UInt64(flags), limit: 1, "unknown flag")
    }
    usesTicket = flags == Self.ticketFlag
    namespace = try reader.takeText("namespace", least: 1, limit: NamespaceName.byteCountMax)
    token = try reader.takeText("token", limit: Self.tokenBytesMax)
    guard !usesTicket || LinkTicket(text: token) != nil else {
      throw FieldFault(
        "token", value: token.utf8.count, limit: 2 * LinkTicket.byteCount,
        "a ticket has 64 lower-case hex digits")
    }
    agent = try reader.takeText("agent", limit: Self.agentBytesMax)
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(minVersion)
    writer.put(maxVersion)
    writer.put(usesTicket ? Self.ticketFlag : 0)
    writer.put(namespace, limit: NamespaceName.byteCountMax)
    writer.put(token, limit: Self.tokenBytesMax)
    writer.put(agent, limit: Self.agentBytesMax)
  }
}

/// Kinds of link that a server offers.
package struct LinkKinds: OptionSet, Hashable, Sendable {
  package let rawValue: UInt32

  package init(rawValue: UInt32) { self.rawValue = rawValue }

  /// TCP, with or without TLS.
  package static let tcp = LinkKinds(rawValue: 1)
  /// Unix socket.
  package static let unix = LinkKinds(rawValue: 2)
  /// Shared memory, for clients on the same host.
  package static let sharedMemory = LinkKinds(rawValue: 4)
  /// RDMA, for clients on the fabric.
  package static let rdma = LinkKinds(rawValue: 8)
}

/// The answer to HELLO: what the connection may ask for.
package struct HelloResponse: FrameBody {
  /// Protocol version chosen.
  package let version: UInt16
  /// Links offered; unknown bits are kept.
  package let links: LinkKinds
  /// Limits; those that HELLO does not carry hold their defaults after decoding.
  package let limits: Limits
  /// Grows by one with each purge of the namespace.
  package let namespaceGeneration: UInt64
  /// 16 random bytes, other at each start of the server.
  package let serverID: [UInt8]
  /// Name and version of the server, for logs.
  package let server: String

  /// Bytes of a server id.
  package static let serverIDByteCount = 16
  /// Longest name of a server, in bytes.
  package static let serverBytesMax = 256

  /// Creates the answer of a server that speaks version 1; `serverID` must have 16 bytes.
  package init(
    limits: Limits, links: LinkKinds, namespaceGeneration: UInt64, serverID: [UInt8],
    server: String
  ) {
    precondition(serverID.count == Self.serverIDByteCount, "a server id has 16 bytes")
    version = UInt16(FrameHeader.version)
    self.links = links
    self.limits = limits
    self.namespaceGeneration = namespaceGeneration
    self.serverID = serverID
    self.server = server
  }

  /// Decodes a whole body.
  ///
  /// - Throws: a fault that names the field at fault: a version that this build does not speak, a
  ///   limit of zero, or bytes missing or left over.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 82)
    version = try reader.take("version")
    guard version == UInt16(FrameHeader.version) else {
      throw FieldFault(
        "version", value: UInt64(version), limit: UInt64(FrameHeader.version), "not offered")
    }
    try reader.takeZero(UInt16.self)
    links = LinkKinds(rawValue: try reader.take("links"))
    var limits = Limits()
    limits.maxBodyBytes = try reader.takeCount("maxBodyBytes", least: 1, limit: .max)
    limits.maxFramePayloadBytes =
      try reader.takeCount("maxFramePayloadBytes", least: 1, limit: .max)
    limits.maxObjectBytes = try reader.takeByteCount("maxObjectBytes")
    limits.maxKeysPerRequest = try reader.takeCount("maxKeysPerRequest", least: 1, limit: .max)
    limits.maxRequestsInFlight = try reader.takeCount("maxRequestsInFlight", least: 1, limit: .max)
    limits.creditBytes = try reader.takeByteCount("creditBytes")
    limits.defaultDeadlineMilliseconds =
      try reader.takeCount("defaultDeadlineMillis", least: 1, limit: .max)
    limits.maxDeadlineMilliseconds =
      try reader.takeCount("maxDeadlineMillis", least: 1, limit: .max)
    limits.idleTimeoutMilliseconds = try reader.takeCount("idleTimeoutMillis", limit: .max)
    limits.maxLeaseMilliseconds = try reader.takeCount("maxLeaseMillis", limit: .max)
    self.limits = limits
    namespaceGeneration = try reader.take("namespaceGeneration")
    serverID = Array(try reader.takeBytes("serverID", count: Self.serverIDByteCount))
    server = try reader.takeText("server", limit: Self.serverBytesMax)
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(version)
    writer.put(UInt16(0))
    writer.put(links.rawValue)
    writer.put(UInt32(clamping: limits.maxBodyBytes))
    writer.put(UInt32(clamping: limits.maxFramePayloadBytes))
    writer.put(UInt64(limits.maxObjectBytes))
    writer.put(UInt32(clamping: limits.maxKeysPerRequest))
    writer.put(UInt32(clamping: limits.maxRequestsInFlight))
    writer.put(UInt64(limits.creditBytes))
    writer.put(UInt32(clamping: limits.defaultDeadlineMilliseconds))
    writer.put(UInt32(clamping: limits.maxDeadlineMilliseconds))
    writer.put(UInt32(clamping: limits.idleTimeoutMilliseconds))
    writer.put(UInt32(clamping: limits.maxLeaseMilliseconds))
    writer.put(namespaceGeneration)
    writer.put(contentsOf: serverID)
    writer.put(server, limit: Self.serverBytesMax)
  }
}
