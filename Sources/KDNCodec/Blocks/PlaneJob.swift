internal import CKernels
internal import KDNCore

/// A block with a stream to be decoded, and where to; both must stay where they are meanwhile.
@unsafe struct PlaneJob {
  let kind: BlockKind
  let bytes: UnsafeRawBufferPointer
  /// One, or those of a transform.
  let planes: [PlaneShape]
  /// Leading tokens kept as they are.
  let rawTokens: Int
  /// One for each plane, as long as it.
  let targets: [UnsafeMutableRawBufferPointer]

  /// The plane of a block that has one.
  var plane: PlaneShape { unsafe planes[0] }
  /// Where that one goes.
  var target: UnsafeMutableRawBufferPointer { unsafe targets[0] }
}

extension BlockKind {
  /// Whether blocks of the kind have a stream.
  var hasStream: Bool { self == .uniform || self == .exact || self == .transform }
}

/// A block with a stream whose fields were read.
private enum OpenBlock {
  case uniform(UniformBlock)
  case exact(ExactBlock)
  case transform(TransformBlock)

  init(
    _ job: PlaneJob, _ index: Int, _ shape: PartShape, _ context: BlockContext, _ room: WorkingRoom
  ) throws(FieldFault) {
    switch unsafe job.kind {
    case .uniform: self = unsafe .uniform(try UniformBlock(job, shape, context))
    case .exact: self = unsafe .exact(try ExactBlock(job, index, shape, room))
    case .transform:
      self = unsafe .transform(try TransformBlock(job, index, shape, context, room))
    case .raw, .zstd, .lz4: preconditionFailure("blocks of other kinds have no stream")
    }
  }

  /// The name of its kind in faults.
  var name: String {
    switch self {
    case .uniform: "uniform"
    case .exact: "exact"
    case .transform: "transform"
    }
  }

  func stream(_ index: Int, tokens: Int, _ room: WorkingRoom) -> kdn_stream {
    switch self {
    case .uniform(let block): unsafe block.stream(index, tokens: tokens, room)
    case .exact(let block): unsafe block.stream(index, tokens: tokens, room)
    case .transform(let block): unsafe block.stream(index, tokens: tokens, room)
    }
  }

  func finish(
    _ job: PlaneJob, _ q: UnsafeMutableBufferPointer<Int16>, _ shape: PartShape,
    _ context: BlockContext, _ room: WorkingRoom
  ) throws(FieldFault) {
    switch self {
    case .uniform(let block): unsafe try block.finish(job, q, shape, context, room)
    case .exact(let block): unsafe try block.finish(job, q, shape, room)
    case .transform(let block): unsafe try block.finish(job, q, shape, context, room)
    }
  }
}

extension BlockContext {
  /// Decodes at most `WorkingRoom.streams` blocks of as many raw tokens each side by side: while
  /// one waits for its table, the others go on.
  ///
  /// Gives the fault of each, nil for one that is decoded.
  func decode(_ jobs: [PlaneJob], _ room: WorkingRoom) -> [FieldFault?] {
    guard let shape, let first = unsafe jobs.first else { return [] }
    precondition(unsafe jobs.count <= WorkingRoom.streams, "more streams than memory for them")
    let tokens = unsafe shape.tokenCount - first.rawTokens
    var faults = unsafe [FieldFault?](repeating: nil, count: jobs.count)
    var opened: [(index: Int, block: OpenBlock)] = []
    var streams: [kdn_stream] = unsafe []
    for index in unsafe jobs.indices {
      precondition(
        unsafe jobs[index].rawTokens == first.rawTokens, "blocks side by side end together")
      do throws(FieldFault) {
        let block = unsafe try OpenBlock(jobs[index], index, shape, self, room)
        opened.append((index, block))
        unsafe streams.append(block.stream(index, tokens: tokens, room))
      } catch {
        faults[index] = error
      }
    }
    guard !opened.isEmpty else { return faults }
    var results = [Int32](repeating: Int32(KDN_BAD_ARGUMENT), count: opened.count)
    _ = unsafe kdn_rans_decode_streams(
      Kernel.path, streams, UInt64(opened.count), UInt64(tokens), &results)
    for (at, (index, block)) in opened.enumerated() {
      do throws(FieldFault) {
        try Kernel.check(results[at], block.name)
        let q = unsafe UnsafeMutableBufferPointer(
          start: streams[at].q, count: Int(streams[at].q_count))
        unsafe try block.finish(jobs[index], q, shape, self, room)
      } catch {
        faults[index] = error
      }
    }
    return faults
  }
}
