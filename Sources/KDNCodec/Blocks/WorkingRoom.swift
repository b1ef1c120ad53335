internal import CKernels

/// Memory that coding the blocks of one object uses again and again: it grows to what the largest
/// of them takes, and nothing in it lasts from one use to the next.
@safe final class WorkingRoom {
  /// What a piece is for; each serves one thing at a time.
  enum Use {
    /// Symbols of one of the streams that are decoded together.
    case coefficients(Int)
    /// Decode tables of one of them.
    case tables(Int)
    /// What one of them decodes to, where that is only compared.
    case decoded(Int)
    /// Classes of one of them, where the block has them in another form.
    case classes(Int)
    /// What kernels want for themselves.
    case scratch
    /// Values as f32.
    case rows
    /// Symbols to be encoded.
    case symbols
    /// Bytes that are not coded.
    case rest
    /// How often each symbol comes; or a transform's coefficients.
    case counts
    /// States and words.
    case stream
    /// Values of escapes.
    case escapes

    fileprivate static let count = 4 * streams + 7

    fileprivate var index: Int {
      switch self {
      case .coefficients(let stream): stream
      case .tables(let stream): streams + stream
      case .decoded(let stream): 2 * streams + stream
      case .classes(let stream): 3 * streams + stream
      case .scratch: 4 * streams
      case .rows: 4 * streams + 1
      case .symbols: 4 * streams + 2
      case .rest: 4 * streams + 3
      case .counts: 4 * streams + 4
      case .stream: 4 * streams + 5
      case .escapes: 4 * streams + 6
      }
    }
  }

  /// How many streams are decoded together.
  static let streams = Int(KDN_STREAMS)

  private var pieces = unsafe [UnsafeMutableRawBufferPointer](
    repeating: UnsafeMutableRawBufferPointer(start: nil, count: 0), count: Use.count)

  deinit {
    for index in unsafe pieces.indices { unsafe pieces[index].deallocate() }
  }

  /// `byteCount` bytes for `use`, aligned for the widest registers, what is in them undefined;
  /// good until the next call for the same use.
  @unsafe func take(_ use: Use, byteCount: Int) -> UnsafeMutableRawBufferPointer {
    let index = use.index
    if unsafe pieces[index].count < byteCount {
      unsafe pieces[index].deallocate()
      unsafe pieces[index] = .allocate(byteCount: byteCount, alignment: 64)
    }
    return unsafe UnsafeMutableRawBufferPointer(rebasing: pieces[index][..<byteCount])
  }

  /// The same for `count` values of a type without invalid bits.
  @unsafe func take<Value: BitwiseCopyable>(
    _ use: Use, _ type: Value.Type, count: Int
  ) -> UnsafeMutableBufferPointer<Value> {
    unsafe take(use, byteCount: count * MemoryLayout<Value>.stride).bindMemory(to: type)
  }
}

private var streams: Int { WorkingRoom.streams }
