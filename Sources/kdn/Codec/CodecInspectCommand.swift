internal import ArgumentParser
internal import KDNCodec
internal import KDNCore

/// `kdn codec inspect`: what the header of an encoded object says.
struct CodecInspectCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Shows the header and index of an encoded object.",
    discussion: "Checks the header, and each block's bytes; nothing is decoded.")

  @Flag(help: "Writes lines of JSON: the object, then its blocks.")
  var json = false
  @Argument(help: "File with an encoded object; - is standard input.")
  var file: String

  func answer() throws -> Bool {
    let bytes = try FileBytes.read(file, limit: CodecFiles.objectBytesMax)
    let header = try EncodedHeader(reading: bytes)
    guard bytes.count == header.byteCount else {
      throw CodecFault.truncated(needed: header.byteCount, have: bytes.count)
    }
    let object = ObjectLine(header)
    if json { try Output.line(object) } else { Output.line(object.text) }
    var isGood = true
    for block in header.blocks {
      let found = Checksum(of: bytes[block.range])
      let line = BlockLine(block, isIntact: found == block.encodedChecksum)
      isGood = isGood && line.isIntact
      if json { try Output.line(line) } else { Output.line(line.text) }
    }
    return isGood
  }
}

/// The object as its header tells it.
private struct ObjectLine: Encodable {
  let codecClass: String
  let rawBytes, encodedBytes, headerBytes, blocks: Int
  let layout, profile: String?
  let layers: Int
  let firstToken: UInt64
  let tokens: Int

  init(_ header: EncodedHeader) {
    codecClass = header.codecClass.name
    rawBytes = header.rawByteCount
    encodedBytes = header.byteCount
    headerBytes = header.headerByteCount
    blocks = header.blocks.count
    layout = header.facts.layout.map { "\($0.id)" }
    profile = header.profile.map { "\($0)" }
    layers = header.layerCount
    firstToken = header.facts.firstToken
    tokens = header.facts.tokenCount
  }

  /// The lines for people.
  var text: String {
    let ratio = Output.decimal(Double(rawBytes) / Double(encodedBytes), digits: 3)
    return """
      \(codecClass): \(rawBytes) bytes in \(encodedBytes), \(ratio) to 1, header \(headerBytes)
      layout \(layout ?? "-"), \(layers) layers, \(tokens) tokens from \(firstToken)
      profile \(profile ?? "-")
      """
  }
}

/// A block as the index tells it.
private struct BlockLine: Encodable {
  let kind, plane: String
  let firstLayerIndex, layers, rawTokens, offset, bytes: Int
  let isIntact: Bool

  init(_ block: BlockEntry, isIntact: Bool) {
    kind = "\(block.kind)"
    plane = "\(block.plane)"
    firstLayerIndex = block.firstLayerIndex
    layers = block.layerCount
    rawTokens = block.rawTokens
    offset = block.offset
    bytes = block.byteCount
    self.isIntact = isIntact
  }

  /// The line for people.
  var text: String {
    "\(kind) \(plane) \(firstLayerIndex)+\(layers) raw tokens \(rawTokens) at \(offset)"
      + " \(bytes) bytes\(isIntact ? "" : " DAMAGED")"
  }
}
