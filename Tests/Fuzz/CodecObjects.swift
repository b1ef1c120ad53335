import KDNCodec
import KDNCore

// Encoded objects of every class: whatever is taken is what its header says. Input: u8 choice (128:
// checksums stay as they come instead of being made right), u8 number of the profile, then the
// object.

private let profiles: [Profile] = Seeds.profiles()

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  let isResealed = input.byte() & 128 == 0
  let choice = Int(input.byte())
  var object = input.rest()
  if isResealed { CodecSeal.seal(&object) }
  guard let header = try? EncodedHeader(reading: object) else { return 0 }
  precondition(header.layerCount > 0 && header.byteCount >= header.headerByteCount)
  let whole = header.rawRange(layers: 0..<header.layerCount)
  precondition(whole == 0..<header.rawByteCount)
  let profile = profiles.isEmpty ? nil : profiles[choice % profiles.count]
  guard header.rawByteCount <= 4 << 20 else { return 0 }
  for known in [profile, nil] {
    guard let decoder = try? Decoder(header, profile: known) else { continue }
    guard let raw = try? decoder.decode(object, limit: 4 << 20) else { continue }
    precondition(raw.count == header.rawByteCount)
    precondition(Checksum(of: raw) == header.decodedChecksum)
  }
  return 0
}
