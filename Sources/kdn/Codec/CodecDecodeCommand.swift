internal import ArgumentParser
internal import KDNCodec
internal import KDNCore

/// `kdn codec decode`: encoded objects to raw ones.
struct CodecDecodeCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "decode",
    abstract: "Decodes objects: pairs of files, IN then OUT.",
    discussion: "One line per object: bytes before and after, seconds of processor time.")

  @Option(help: "File with the profile that the objects name.")
  var profile: String?
  @Option(help: "File of lines IN OUT.")
  var list: String?
  @Flag(help: "Writes lines of JSON.")
  var json = false
  @Argument(help: "IN OUT, any number of pairs.")
  var files: [String] = []

  func answer() throws -> Bool {
    let jobs = try CodecJob.jobs(files, list: list, firstToken: 0, tokenCount: 1)
    let profile = try CodecFiles.profile(profile)
    var raw: [UInt8] = []
    for job in jobs {
      let encoded = try FileBytes.read(job.input, limit: CodecFiles.objectBytesMax)
      let header = try EncodedHeader(reading: encoded)
      let clock = CPUClock()
      try Decoder(header, profile: profile).decode(
        encoded, into: &raw, limit: CodecFiles.objectBytesMax)
      let seconds = clock.seconds
      try FileBytes.write(raw, to: job.output)
      let line = DecodedLine(
        input: job.input, output: job.output, encodedBytes: encoded.count, rawBytes: raw.count,
        seconds: seconds)
      if json { try Output.line(line) } else { Output.line(line.text) }
    }
    return true
  }
}

/// What became of one object.
private struct DecodedLine: Encodable {
  let input, output: String
  let encodedBytes, rawBytes: Int
  let seconds: Double

  /// The line for people.
  var text: String {
    "\(input) \(encodedBytes) \(rawBytes) \(Output.decimal(seconds, digits: 4))"
  }
}
