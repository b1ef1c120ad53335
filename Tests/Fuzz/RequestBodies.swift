import KDNCore
import KDNWire

// One request body: it is refused with a fault, or it encodes to the same bytes again.

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  guard let operation = Operation(rawValue: input.byte()) else { return -1 }
  let body = input.rest()
  var limits = Limits()
  limits.maxKeysPerRequest = 64
  do {
    let request = try Request.decode(operation, body: ByteReader(body), limits: limits)
    precondition(request.operation == operation)
    precondition(request.answerCount <= limits.maxKeysPerRequest)
    let again = written { request.write(to: &$0) }
    precondition(again == body, "a body has one encoding")
  } catch {
    precondition(!error.field.isEmpty, "a fault names its field")
    precondition(Status(refusing: error) != .ok)
  }
  return 0
}
