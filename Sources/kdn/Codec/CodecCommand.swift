internal import ArgumentParser
internal import KDNCodec
internal import KDNCore

/// `kdn codec`: encodes and decodes files without a daemon.
struct CodecCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "codec", abstract: "Encodes, decodes and shows encoded objects in files.",
    subcommands: [
      CodecInspectCommand.self, CodecEncodeCommand.self, CodecDecodeCommand.self,
    ])
}

/// Limits and readers that the codec commands share.
enum CodecFiles {
  /// Most bytes of an object read from a file.
  static let objectBytesMax = 4 << 30

  /// Reads a profile; nil for no path.
  static func profile(_ path: String?) throws -> Profile? {
    guard let path else { return nil }
    return try Profile(validating: try FileBytes.read(path, limit: Profile.bytesMax))
  }

  /// Reads the canonical encoding of a layout.
  static func layout(_ path: String) throws -> Layout {
    try Layout(canonicalEncoding: try FileBytes.read(path, limit: EncodedHeader.headerBytesMax))
  }
}

/// One file to be encoded or decoded.
struct CodecJob: Equatable {
  /// The file that is read.
  let input: String
  /// The file that is written.
  let output: String
  /// Position of the first token.
  let firstToken: UInt64
  /// How many tokens.
  let tokenCount: Int

  /// Takes jobs from the arguments, IN OUT after IN OUT, and from a list file.
  ///
  /// - Throws: a validation error if a file has no partner, or a line is malformed.
  static func jobs(
    _ files: [String], list: String?, firstToken: UInt64, tokenCount: Int
  ) throws -> [CodecJob] {
    guard files.count % 2 == 0 else { throw ValidationError("files come in pairs: IN OUT") }
    var jobs = stride(from: 0, to: files.count, by: 2).map { index in
      CodecJob(
        input: files[index], output: files[index + 1], firstToken: firstToken,
        tokenCount: tokenCount)
    }
    if let list {
      let text = String(decoding: try FileBytes.read(list, limit: 64 << 20), as: UTF8.self)
      for line in text.split(whereSeparator: \.isNewline) {
        jobs.append(try CodecJob(line: line, firstToken: firstToken, tokenCount: tokenCount))
      }
    }
    guard !jobs.isEmpty else { throw ValidationError("no files: give IN OUT, or --list") }
    return jobs
  }

  private init(input: String, output: String, firstToken: UInt64, tokenCount: Int) {
    self.input = input
    self.output = output
    self.firstToken = firstToken
    self.tokenCount = tokenCount
  }

  private init(line: Substring, firstToken: UInt64, tokenCount: Int) throws {
    let words = line.split(separator: " ").map(String.init)
    guard (2...4).contains(words.count) else {
      throw ValidationError("'\(line)' is not IN OUT [FIRST [TOKENS]]")
    }
    let first = words.count > 2 ? UInt64(words[2]) : firstToken
    let tokens = words.count > 3 ? Int(words[3]) : tokenCount
    guard let first, let tokens else {
      throw ValidationError("'\(line)': FIRST and TOKENS are numbers")
    }
    self.init(input: words[0], output: words[1], firstToken: first, tokenCount: tokens)
  }
}
