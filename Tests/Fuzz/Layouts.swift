import KDNCore
import KDNWire

// A layout and parts of it: an encoding that is taken is the only one of its layout, and ranges
// hold exactly the bytes that the selection counts. Input: u16 firstLayer, u16 layerCount,
// u8 firstKVHead, u8 kvHeadCount, u8 tokens, then the encoding.

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  let selection = Part(
    firstLayer: UInt16(input.number()), layerCount: UInt16(input.number()),
    firstKVHead: UInt16(input.byte()), kvHeadCount: UInt16(input.byte()))
  let tokens = Int(input.byte())
  let encoding = input.rest()
  guard let layout = try? Layout(canonicalEncoding: encoding) else { return 0 }
  precondition(layout.canonicalEncoding == encoding, "a layout has one encoding")
  precondition(layout.id == LayoutID(ofCanonicalEncoding: encoding))
  let geometry = LayoutGeometry(layout)
  guard let selected = try? geometry.byteCount(of: selection, tokens: tokens) else { return 0 }
  for part in [selection, wider(selection)] {
    guard let size = try? geometry.byteCount(of: part, tokens: tokens) else { continue }
    guard let ranges = try? geometry.ranges(of: selection, in: part, tokens: tokens) else {
      preconditionFailure("a part inside another can be selected")
    }
    precondition(ranges.reduce(0) { $0 + $1.count } == selected, "ranges hold the selection")
    var end = 0
    for range in ranges {
      precondition(!range.isEmpty && range.lowerBound >= end, "ranges ascend and do not touch")
      end = range.upperBound
    }
    precondition(end <= size, "ranges lie inside the object")
  }
  return 0
}

/// A part with one layer number and one head more on each side, where there is room.
private func wider(_ part: Part) -> Part {
  let layer: UInt16 = part.firstLayer > 0 ? 1 : 0
  let head: UInt16 = part.firstKVHead > 0 ? 1 : 0
  let (layerCount, overflow) = part.layerCount.addingReportingOverflow(layer + 1)
  guard !overflow else { return part }
  return Part(
    firstLayer: part.firstLayer - layer, layerCount: layerCount,
    firstKVHead: part.firstKVHead - head, kvHeadCount: part.kvHeadCount + head)
}
