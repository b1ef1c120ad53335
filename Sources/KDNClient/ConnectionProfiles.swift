package import KDNCore
package import KDNWire

/// What codecs learned, by CODEC_PROFILE.
extension Connection {
  /// Fetches a profile's bytes into `buffer`; the caller checks their SHA-256.
  ///
  /// - Returns: a hit, a miss, or how much room is needed.
  /// - Throws: `refused`, or whatever ends the connection.
  @unsafe package func getProfile(
    _ hash: ChunkHash, into buffer: UnsafeMutableRawBufferPointer,
    deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> GetResult {
    let item = GetRequest.Item(key: CodecProfileRequest.key(of: hash))
    return try guarded { () throws(ClientError) in
      try start(deadlineMilliseconds: deadlineMilliseconds)
      let results = unsafe try receive(
        .codecProfile(.get(hash)), [item], into: [buffer], accepting: .raw, checks: verifies,
        deadlineMilliseconds)
      return results[0]
    }
  }

  /// Has the daemon encode with a profile that is stored, from now on.
  ///
  /// - Throws: `refused` if it is not stored or is none, or whatever ends the connection.
  package func useProfile(
    _ hash: ChunkHash, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> CodecProfileFacts {
    let answer = try request(
      .codecProfile(.use(hash)), deadlineMilliseconds: deadlineMilliseconds)
    guard case .codecProfile(.used(let facts)) = answer else { throw Self.otherVerb(answer) }
    return facts
  }

  /// The profiles in use of a layout; of all layouts for `LayoutID.none`.
  ///
  /// - Throws: `refused`, or whatever ends the connection.
  package func listProfiles(
    of layout: LayoutID = .none, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> [CodecProfileFacts] {
    let answer = try request(
      .codecProfile(.list(layout)), deadlineMilliseconds: deadlineMilliseconds)
    guard case .codecProfile(.listed(let rows)) = answer else { throw Self.otherVerb(answer) }
    return rows
  }

  private static func otherVerb(_ answer: Response) -> ClientError {
    .lost("\(answer.operation) was answered for another verb")
  }
}
