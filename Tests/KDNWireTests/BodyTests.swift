import KDNCore
import KDNWire
import Testing

/// A decoder and encoder of one body, with an example.
struct BodyCase: Sendable, CustomTestStringConvertible {
  let name: String
  let bytes: [UInt8]
  /// Decodes the bytes and encodes what came out.
  let recode: @Sendable ([UInt8]) throws -> [UInt8]

  var testDescription: String { name }

  static let all: [BodyCase] = requests + answers + errors

  static let requests: [BodyCase] = Vectors.requests.compactMap { vector in
    guard let operation = vector.operation else { return nil }
    return BodyCase(name: vector.name, bytes: vector.body) { bytes in
      let request = try Request.decode(
        operation, body: ByteReader(bytes), limits: Limits(), place: vector.place)
      return written { request.write(to: &$0) }
    }
  }

  static let answers: [BodyCase] = Vectors.answers.compactMap { vector in
    guard let operation = vector.operation else { return nil }
    let count = answerCount(vector)
    return BodyCase(name: vector.name, bytes: vector.body) { bytes in
      let response = try Response.decode(
        operation, body: ByteReader(bytes), count: count, place: vector.place)
      return written { response.write(to: &$0) }
    }
  }

  static let errors: [BodyCase] = Vectors.errors.map { vector in
    BodyCase(name: vector.name, bytes: vector.body) { bytes in
      var reader = ByteReader(bytes)
      let body = try ErrorBody(from: &reader)
      return written { body.write(to: &$0) }
    }
  }
}

private func written(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
  var writer = ByteWriter()
  write(&writer)
  return writer.bytes
}

@Suite("Bodies")
struct BodyTests {
  /// STATS answers have no structure: any UTF-8 is one.
  static let structured = BodyCase.all.filter { $0.name != "STATS response" }

  @Test("a body cut off at any point is refused", arguments: structured)
  func truncated(_ body: BodyCase) {
    for count in 0..<body.bytes.count {
      #expect(throws: FieldFault.self, "\(count) bytes") {
        _ = try body.recode(Array(body.bytes.prefix(count)))
      }
    }
  }

  @Test("a body with a byte too many is refused", arguments: structured)
  func extended(_ body: BodyCase) {
    for extra in [1, 8, 64] {
      #expect(throws: FieldFault.self) {
        _ = try body.recode(body.bytes + [UInt8](repeating: 0, count: extra))
      }
    }
  }

  @Test(
    "a body with any bit flipped is refused, or is another body that encodes to those bytes",
    arguments: BodyCase.all)
  func flipped(_ body: BodyCase) {
    for bit in 0..<body.bytes.count * 8 {
      var bytes = body.bytes
      bytes[bit / 8] ^= 1 << (bit % 8)
      if let again = try? body.recode(bytes) { #expect(again == bytes, "bit \(bit)") }
    }
  }

  @Test(
    "random bytes are refused, or are a body that encodes to those bytes",
    arguments: BodyCase.all)
  func random(_ body: BodyCase) {
    var random = SeededGenerator(seed: 7)
    for _ in 0..<200 {
      var bytes = body.bytes
      for _ in 0..<Int.random(in: 1...6, using: &random) where !bytes.isEmpty {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(
          in: 0...255, using: &random)
      }
      if let again = try? body.recode(bytes) { #expect(again == bytes) }
    }
  }

  @Test(
    "counts beyond the connection's limits are refused",
    arguments: [Operation.exists, .touch, .pin, .unpin, .prefetch, .get, .match])
  func limits(_ operation: Operation) throws {
    let vector = try #require(
      Vectors.requests.first {
        $0.operation == operation && $0.body.count >= 72 && $0.place == .inline
      })
    var limits = Limits()
    limits.maxKeysPerRequest = 0
    let fault = #expect(throws: FieldFault.self) {
      _ = try Request.decode(operation, body: ByteReader(vector.body), limits: limits)
    }
    #expect(fault?.field == (operation == .match ? "hashCount" : "count"))
    #expect(fault?.limit == 0)
  }

  @Test("a pin longer than the server's limit is refused")
  func pinLimit() {
    var limits = Limits()
    limits.maxPinMilliseconds = 10
    let body = written { PinRequest(keys: [], ttlMilliseconds: 11).write(to: &$0) }
    let fault = #expect(throws: FieldFault.self) {
      _ = try Request.decode(.pin, body: ByteReader(body), limits: limits)
    }
    #expect(fault?.field == "ttlMillis")
    #expect(fault?.value == 11)
    #expect(fault?.limit == 10)
  }

  @Test("layers and heads of an opaque object cannot be selected")
  func opaquePart() {
    let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
    let item = GetRequest.Item(
      key: ObjectKey(opaque: HashChain.opaque([1])), selection: .part(part))
    let body = written { GetRequest(items: [item]).write(to: &$0) }
    let fault = #expect(throws: FieldFault.self) {
      _ = try Request.decode(.get, body: ByteReader(body), limits: Limits())
    }
    #expect(fault?.field == "selection")
  }

  @Test("a lease time without the lease flag is refused")
  func leaseWithoutFlag() throws {
    let request = MatchRequest(
      hashes: [HashChain.opaque([1])],
      parts: [Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)], layout: .none,
      leaseMilliseconds: 5)
    var body = written { request.write(to: &$0) }
    body[6] = 0
    let fault = #expect(throws: FieldFault.self) {
      _ = try Request.decode(.match, body: ByteReader(body), limits: Limits())
    }
    #expect(fault?.field == "leaseMillis")
  }

  @Test("faults of versions, durability, codec and size have statuses of their own")
  func statuses() {
    func status(_ field: String, _ value: UInt64, _ limit: UInt64) -> Status {
      Status(refusing: FieldFault(field, value: value, limit: limit, ""))
    }
    #expect(status("minVersion", 2, 1) == .unsupported)
    #expect(status("durability", 2, 1) == .unsupported)
    #expect(status("codec", 2, 0) == .unsupported)
    #expect(status("place", 1, 0) == .unsupported)
    #expect(status("totalBytes", 2, 1) == .tooLarge)
    #expect(status("totalBytes", 0, 1) == .badRequest)
    #expect(status("count", 2, 1) == .badRequest)
  }

  @Test("bitmaps count their bits and refuse bits beyond the last key", arguments: 0...17)
  func bitmaps(_ count: Int) {
    let bits = (0..<count).map { $0 % 3 == 0 }
    var bitmap = Bitmap(bits)
    #expect((0..<count).map { bitmap[$0] } == bits)
    #expect(bitmap.trueCount == bits.count { $0 })
    #expect(bitmap.bytes.count == (count + 7) / 8)
    if count > 0 {
      bitmap[0] = false
      #expect(!bitmap[0])
    }
    guard count % 8 != 0 else { return }
    var body = written { ExistsResponse(present: bitmap).write(to: &$0) }
    body[body.count - 1] |= 0x80
    #expect(throws: FieldFault.self) {
      _ = try Response.decode(.exists, body: ByteReader(body), count: count)
    }
  }
}
