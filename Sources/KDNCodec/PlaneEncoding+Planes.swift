internal import Glibc
internal import KDNCore

/// What a plane may become, before it was decoded again.
private struct Candidate {
  let kind: BlockKind
  let bytes: [UInt8]
  let rawTokens: Int
  let fellBack: Bool
}

extension PlaneEncoding {
  /// Blocks of at most as many planes as are decoded side by side; what they decode to comes to
  /// stand in `rooms`.
  func blocks(
    of planes: [PlaneShape], in raw: UnsafeRawBufferPointer,
    decodedInto rooms: [UnsafeMutableRawBufferPointer]
  ) -> [EncodedBlock] {
    var candidates: [Candidate] = []
    for plane in planes {
      let bytes = unsafe UnsafeRawBufferPointer(rebasing: raw[plane.range])
      candidates.append(unsafe lossy(bytes, plane) ?? lossless(bytes, plane))
    }
    let isGood = unsafe decodes(candidates, planes, raw, into: rooms)
    for index in planes.indices where !isGood[index] {
      let plane = planes[index]
      let bytes = unsafe UnsafeRawBufferPointer(rebasing: raw[plane.range])
      let room = unsafe rooms[index]
      let next = unsafe candidates[index].kind.isLossy ? lossless(bytes, plane) : asIs(bytes)
      let isNextGood = unsafe decodes([next], [plane], raw, into: [room]) == [true]
      candidates[index] = isNextGood ? next : unsafe asIs(bytes)
      if !isNextGood { unsafe room.copyMemory(from: bytes) }
    }
    var blocks: [EncodedBlock] = []
    for index in planes.indices {
      unsafe blocks.append(block(candidates[index], planes[index], rooms[index]))
    }
    return blocks
  }

  private func block(
    _ candidate: Candidate, _ plane: PlaneShape, _ decoded: UnsafeMutableRawBufferPointer
  ) -> EncodedBlock {
    EncodedBlock(
      kind: candidate.kind, plane: plane.plane, firstLayerIndex: plane.layerIndex, layerCount: 1,
      rawTokens: candidate.rawTokens, bytes: candidate.bytes,
      decodedChecksum: unsafe Checksum(of: UnsafeRawBufferPointer(decoded)),
      rawByteCount: plane.byteCount, fellBack: candidate.fellBack)
  }

  /// The plane quantised; nil if it must not be, cannot be, or that would not be shorter.
  private func lossy(_ bytes: UnsafeRawBufferPointer, _ plane: PlaneShape) -> Candidate? {
    guard isLossy, !plane.isOpaque else { return nil }
    let weights = codecClass == .high ? nil : context.weights(of: plane)
    let rawTokens = rawTokens(ofTransform: usesBases)
    let factor = weights == nil ? settings.steps.high : settings.steps.balanced
    let coded = unsafe try? UniformBlock.encode(
      bytes, plane, shape, context, rawTokens: rawTokens, factor: factor,
      rounding: settings.rounding, weights: weights, working)
    guard let coded, coded.count < plane.byteCount else { return nil }
    return Candidate(
      kind: .uniform, bytes: coded, rawTokens: rawTokens,
      fellBack: usesBases || (codecClass == .balanced && weights == nil))
  }

  /// What gives the plane's bytes: exact, zstd for opaque layers, or raw.
  private func lossless(_ bytes: UnsafeRawBufferPointer, _ plane: PlaneShape) -> Candidate {
    var encoded: [UInt8]?
    if plane.isOpaque {
      encoded = unsafe GeneralPurpose.zstd(bytes, level: settings.zstdLevel)
      let most = plane.byteCount - plane.byteCount / settings.savedPartMin
      if encoded.map({ $0.count > most }) == true { encoded = nil }
    } else {
      encoded = unsafe try? ExactBlock.encode(bytes, plane, shape, working)
    }
    guard let encoded else { return unsafe asIs(bytes) }
    return Candidate(
      kind: plane.isOpaque ? .zstd : .exact, bytes: encoded, rawTokens: 0,
      fellBack: isLossy ? !plane.isOpaque : codecClass != .exact)
  }

  private func asIs(_ bytes: UnsafeRawBufferPointer) -> Candidate {
    Candidate(kind: .raw, bytes: unsafe Array(bytes), rawTokens: 0, fellBack: true)
  }

  /// Decodes candidates into `rooms`: whether each can be, and gives the plane's bytes if it must.
  private func decodes(
    _ candidates: [Candidate], _ planes: [PlaneShape], _ raw: UnsafeRawBufferPointer,
    into rooms: [UnsafeMutableRawBufferPointer]
  ) -> [Bool] {
    var isGood = [Bool](repeating: false, count: candidates.count)
    unsafe Self.withAddresses(candidates[...], []) { encoded in
      for rawTokens in Set(candidates.map(\.rawTokens)) {
        let together = candidates.indices.filter {
          candidates[$0].kind.hasStream && candidates[$0].rawTokens == rawTokens
        }
        var jobs: [PlaneJob] = unsafe []
        for index in together {
          unsafe jobs.append(
            PlaneJob(
              kind: candidates[index].kind, bytes: encoded[index], planes: [planes[index]],
              rawTokens: rawTokens, targets: [rooms[index]]))
        }
        let faults = unsafe context.decode(jobs, working)
        for (at, index) in together.enumerated() { isGood[index] = faults[at] == nil }
      }
      for index in candidates.indices where !candidates[index].kind.hasStream {
        let isDecoded: Void? = unsafe try? context.decode(
          candidates[index].kind, encoded[index], [planes[index]], rawTokens: 0,
          into: [rooms[index]], working)
        isGood[index] = isDecoded != nil
      }
    }
    for index in candidates.indices where isGood[index] && !candidates[index].kind.isLossy {
      let stored = unsafe UnsafeRawBufferPointer(rebasing: raw[planes[index].range])
      isGood[index] = unsafe Self.areEqual(stored, UnsafeRawBufferPointer(rooms[index]))
    }
    return isGood
  }

  /// Runs `body` with the addresses of all candidates' bytes behind `found`.
  private static func withAddresses(
    _ candidates: ArraySlice<Candidate>, _ found: [UnsafeRawBufferPointer],
    _ body: ([UnsafeRawBufferPointer]) -> Void
  ) {
    guard let first = candidates.first else { return unsafe body(found) }
    unsafe first.bytes.withUnsafeBytes { bytes in
      unsafe withAddresses(candidates.dropFirst(), found + [bytes], body)
    }
  }

  private static func areEqual(
    _ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer
  ) -> Bool {
    guard let one = left.baseAddress, let other = right.baseAddress else { return false }
    return unsafe left.count == right.count && memcmp(one, other, left.count) == 0
  }
}
