import KDNCore
import KDNWire

// A stream of commands, fed to the decoder in one piece and in small pieces, values partly past it:
// both must say the same, hold no more than the limits allow and never trap. Counts are put right
// first where the first byte says so.

private struct Told: Equatable {
  var events: [RESPDecoder.Event] = []
  /// The bytes of all values: their lengths are among the events.
  var values: [UInt8] = []
  var error: RESPError?
}

private let lineBytesMax = 256
private let keyBytesMax = 512

private var limits: RESPLimits {
  var limits = RESPLimits()
  limits.lineBytesMax = lineBytesMax
  limits.keyBytesMax = keyBytesMax
  limits.commandBytesMax = 1024
  limits.argumentsMax = 64
  limits.valueBytesMax = 4096
  limits.strangerArgumentBytesMax = 64
  return limits
}

/// Lines of words, written as counted arguments.
private func counted(_ stream: [UInt8]) -> [UInt8] {
  var bytes: [UInt8] = []
  for line in stream.split(separator: 0, omittingEmptySubsequences: false) {
    let words = line.split(separator: 1, omittingEmptySubsequences: false)
    bytes += Array("*\(words.count)\r\n".utf8)
    for word in words { bytes += Array("$\(word.count)\r\n".utf8) + word + [13, 10] }
  }
  return bytes
}

private struct Feed {
  let step: Int
  let bypasses: Bool
  let isStranger: Bool
  var told = Told()

  mutating func run(_ stream: [UInt8]) {
    var decoder = RESPDecoder(limits: limits)
    decoder.requiresAuthentication = isStranger
    var start = 0
    while start < stream.count {
      let end = min(stream.count, start + step)
      let direct = bypasses ? min(end - start, decoder.valueRemaining) : 0
      if direct > 0 {
        decoder.valueArrived(direct)
        told.values += stream[start..<start + direct]
      }
      decoder.append(Array(stream[start + direct..<end]).span)
      start = end
      guard take(from: &decoder) else { return }
      // A typed line is written out with a count in front of each of its words.
      precondition(decoder.bufferedBytes <= max(8 * lineBytesMax, keyBytesMax) + step)
      precondition(decoder.heldBytes <= decoder.bufferedBytes + limits.commandBytesMax)
      precondition((decoder.wantedControlBytes == 0) == (decoder.valueRemaining > 0))
    }
  }

  private mutating func take(from decoder: inout RESPDecoder) -> Bool {
    do {
      while true {
        while decoder.bufferedValueBytes > 0 {
          var room = [UInt8](repeating: 0, count: 8)
          var span = room.mutableSpan
          let count = decoder.takeBufferedValue(into: &span)
          told.values += room.prefix(count)
        }
        guard let event = try decoder.nextEvent() else { return true }
        told.events.append(event)
        follow(event, &decoder)
      }
    } catch {
      precondition(error.endsConnection, "only a protocol error ends the stream")
      told.error = error
      return false
    }
  }

  /// Logs in where that is asked for, and answers what needs no store, in both versions.
  private func follow(_ event: RESPDecoder.Event, _ decoder: inout RESPDecoder) {
    switch event {
    case .valueBegins(_, let count):
      precondition(count <= limits.valueBytesMax, "a value has its limit")
    case .command(let command):
      if case .auth = command { decoder.requiresAuthentication = false }
      var conversation = RESPConversation(connectionID: 1, peer: "", local: "")
      var writer = ByteWriter()
      if case .hello(let hello) = command { conversation.greet(hello, to: &writer) }
      _ = conversation.answer(command, to: &writer)
    case .refused(let error), .valueRefused(let error):
      let reply = written { RESPEncoder().error(error, to: &$0) }
      precondition(reply.filter { $0 == 10 || $0 == 13 }.count == 2, "an error is one line")
      precondition(!error.endsConnection)
    case .valueEnds: break
    }
  }
}

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  let choice = input.byte()
  let stream = choice & 1 == 0 ? counted(input.rest()) : input.rest()
  let isStranger = choice & 2 != 0
  var whole = Feed(step: max(1, stream.count), bypasses: false, isStranger: isStranger)
  whole.run(stream)
  var dripped = Feed(step: 1 + Int(choice >> 3), bypasses: choice & 4 != 0, isStranger: isStranger)
  dripped.run(stream)
  precondition(whole.told == dripped.told, "pieces do not change what is told")
  return 0
}
