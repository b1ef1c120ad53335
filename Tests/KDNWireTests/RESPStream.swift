import KDNCore
import KDNWire

/// What a decoder told of a stream, with the bytes of values put together.
enum Told: Equatable {
  case event(RESPDecoder.Event)
  case value([UInt8])
  case broken(RESPError)
}

/// How a stream is given to a decoder.
struct RESPFeed {
  var limits = RESPLimits()
  /// Whether nobody has logged in.
  var isStranger = false
  /// Whether bytes of a value go past the decoder once its buffer is empty, as a link does it.
  var bypasses = false
  /// Bytes of a value taken at once.
  var valueStep = 7
  /// Most bytes that may lie in the decoder after each piece.
  var bufferedBytesMax = Int.max

  /// Everything that comes out of a stream cut into `pieces`, up to a protocol error.
  func told(_ pieces: [ArraySlice<UInt8>]) -> [Told] {
    var decoder = RESPDecoder(limits: limits)
    decoder.requiresAuthentication = isStranger
    var told: [Told] = []
    for piece in pieces {
      let direct = bypasses ? min(piece.count, decoder.valueRemaining) : 0
      if direct > 0 {
        decoder.valueArrived(direct)
        Self.add(piece.prefix(direct), to: &told)
      }
      decoder.append(Array(piece.dropFirst(direct)).span)
      guard take(from: &decoder, to: &told) else { return told }
      precondition(decoder.bufferedBytes <= bufferedBytesMax, "the buffer is bounded")
      precondition((decoder.wantedControlBytes == 0) == (decoder.valueRemaining > 0))
    }
    return told
  }

  private func take(from decoder: inout RESPDecoder, to told: inout [Told]) -> Bool {
    do {
      while true {
        while decoder.bufferedValueBytes > 0 {
          var room = [UInt8](repeating: 0, count: valueStep)
          var span = room.mutableSpan
          let count = decoder.takeBufferedValue(into: &span)
          Self.add(room.prefix(count), to: &told)
        }
        guard let event = try decoder.nextEvent() else { return true }
        told.append(.event(event))
        if case .valueBegins = event { told.append(.value([])) }
      }
    } catch {
      told.append(.broken(error))
      return false
    }
  }

  private static func add(_ bytes: some Sequence<UInt8>, to told: inout [Told]) {
    guard case .value(let front) = told.last else { preconditionFailure("no value has begun") }
    told[told.count - 1] = .value(front + bytes)
  }
}

/// What a stream in one piece says to one who has logged in.
func told(_ stream: [UInt8], limits: RESPLimits = RESPLimits()) -> [Told] {
  RESPFeed(limits: limits).told([stream[...]])
}

/// The same, of text.
func told(_ stream: String) -> [Told] { told(Array(stream.utf8)) }

/// A command as clients send it.
func multibulk(_ arguments: [String]) -> [UInt8] { multibulk(arguments.map { Array($0.utf8) }) }

/// The same, of any bytes.
func multibulk(_ arguments: [[UInt8]]) -> [UInt8] {
  arguments.reduce(Array("*\(arguments.count)\r\n".utf8)) { front, argument in
    front + Array("$\(argument.count)\r\n".utf8) + argument + [13, 10]
  }
}

/// The same, of words between spaces.
func multibulk(_ words: String) -> [UInt8] {
  multibulk(words.split(separator: " ").map { Array($0.utf8) })
}

/// What `write` appends, as text.
func replyText(_ write: (inout ByteWriter) -> Void) -> String {
  var writer = ByteWriter()
  write(&writer)
  return String(decoding: writer.bytes, as: UTF8.self)
}

extension [UInt8] {
  /// Cut into pieces of `size`, the last one perhaps shorter.
  func pieces(of size: Int) -> [ArraySlice<UInt8>] {
    stride(from: 0, to: count, by: size).map { self[$0..<Swift.min($0 + size, count)] }
  }
}
