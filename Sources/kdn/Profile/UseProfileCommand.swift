internal import ArgumentParser
internal import KDNClient
internal import KDNCodec
internal import KDNCore
internal import KDNWire

/// `kdn profile use`: stores a profile, and has the daemon encode with it.
struct UseProfileCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "use",
    abstract: "Stores a profile and has the namespace's KV encoded with it from now on.",
    discussion: """
      The profile is kept on disk if the daemon has one, and pinned. It takes the place of one of
      the same kind and layout; what was encoded with that one stays readable.
      """)

  @OptionGroup var common: CommonOptions
  @Flag(help: "FILE is the hash of a profile that is stored already.")
  var stored = false
  @Argument(help: "File with the profile; - is standard input.")
  var file: String

  func answer() throws -> Bool {
    let client = try common.client()
    let hash = stored ? try Hexadecimal.chunkHash(file) : try store(client)
    let facts = try client.connection.useProfile(hash)
    if common.json {
      try Output.line(UsedProfile(facts))
    } else {
      Output.line("uses \(UsedProfile(facts).text)")
    }
    return true
  }

  private func store(_ client: Client) throws -> ChunkHash {
    let limit = min(Profile.bytesMax, client.connection.hello.limits.maxObjectBytes)
    let bytes = try FileBytes.read(file, limit: limit)
    // What is none is told here, by field, before it travels.
    _ = try Profile(validating: bytes)
    let hash = HashChain.opaque(bytes)
    let display = ProgressDisplay("profile")
    defer { display.end() }
    client.connection.progress = { display.show($0, of: $1) }
    do {
      _ = try client.put(facts(of: hash, bytes, .disk), bytes: bytes)
    } catch ClientError.refused(_, let refusal) where refusal.field == "durability" {
      _ = try client.put(facts(of: hash, bytes, .ram), bytes: bytes)
    }
    return hash
  }

  private func facts(
    of hash: ChunkHash, _ bytes: [UInt8], _ durability: PutBeginRequest.Durability
  ) -> PutBeginRequest {
    PutBeginRequest(
      key: CodecProfileRequest.key(of: hash), totalBytes: bytes.count, durability: durability)
  }
}

/// `kdn profile list`: the profiles that a namespace's KV is encoded with.
struct ListProfilesCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Lists the profiles in use in the namespace; 1 if there are none.")

  @OptionGroup var common: CommonOptions
  @Option(help: "Only those of this layout, 32 hexadecimal digits.")
  var layout: String?

  func answer() throws -> Bool {
    let layout = try layout.map(Hexadecimal.layoutID) ?? .none
    let used = try common.client().connection.listProfiles(of: layout).map(UsedProfile.init)
    if common.json {
      for profile in used { try Output.line(profile) }
    } else {
      for profile in used { Output.line(profile.text) }
    }
    return !used.isEmpty
  }
}

/// A profile in use, for people and programs.
struct UsedProfile: Encodable {
  let hash: String
  let kind: String
  let layout: String
  let part: String
  let bytes: Int
  let tokens: UInt64

  init(_ facts: CodecProfileFacts) {
    hash = "\(facts.hash)"
    kind = Profile.Kind(rawValue: facts.kind).map(ProfileKindArgument.name) ?? "\(facts.kind)"
    layout = "\(facts.layout)"
    part = ChunkChoice.text(of: facts.part)
    bytes = facts.byteCount
    tokens = facts.tokenCount
  }

  /// One line.
  var text: String {
    "\(hash) for \(kind), \(Text.bytes(bytes)), layout \(layout), \(part), of \(tokens) tokens"
  }
}
