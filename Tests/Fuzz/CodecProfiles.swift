import KDNCodec
import KDNCore

// Profiles: what is taken writes the same bytes again. Input: u8 choice (128: the checksum stays as
// it comes), then the profile.

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  let isResealed = input.byte() & 128 == 0
  var bytes = input.rest()
  if isResealed, bytes.count >= 8 {
    CodecSeal.put(Checksum(of: bytes, first: bytes.count - 8).value, &bytes, at: bytes.count - 8)
  }
  guard let profile = try? Profile(validating: bytes) else { return 0 }
  precondition((profile.kind == .weights) == profile.bases.isEmpty)
  guard
    var writer = try? ProfileWriter(
      kind: profile.kind, layout: profile.layout, part: profile.part,
      tokenCount: profile.tokenCount)
  else { preconditionFailure("facts of a profile can be written") }
  do {
    for layer in 0..<profile.layerCount {
      for plane in Plane.allCases {
        guard let known = profile.plane(layerIndex: layer, plane) else { continue }
        try writer.add(known, layerIndex: layer, plane)
      }
    }
    for basis in profile.bases { try writer.add(basis) }
    let written = try writer.finish()
    precondition(written == bytes, "a profile has one form")
  } catch {
    preconditionFailure("what was read can be written: \(error)")
  }
  return 0
}
