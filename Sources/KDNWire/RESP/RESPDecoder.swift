internal import KDNCore

/// Finds commands in a stream of RESP that arrives in any pieces; values go past it.
///
/// Append what the link read, take events until `nextEvent` gives nil, and only then append again:
/// the buffer then never holds more than one incomplete line or argument and one read. While a
/// value is pending `nextEvent` gives nil until all of it is accounted for: first what was read
/// along with the command (`takeBufferedValue`, `skipBufferedValue`), then what the link reads
/// straight to its place (`valueArrived`). How the stream is cut into pieces changes nothing of
/// what comes out.
package struct RESPDecoder {
  /// What the stream says next.
  package enum Event: Equatable, Sendable {
    /// Carry it out and answer it in its turn.
    case command(RESPCommand)
    /// Answer with this error and go on.
    case refused(RESPError)
    /// The value of a SET follows, `bytes` long; make room for it or decide to drop it.
    case valueBegins(key: [UInt8], bytes: Int)
    /// The whole value was accounted for: store it and answer.
    case valueEnds(RESPSetOptions)
    /// What stands around the value is not right: drop it and answer with this error.
    case valueRefused(RESPError)
  }

  private enum Stage {
    case commandStart
    case argumentLength
    case argument(kept: Int, dropped: Int)
    case dropping(Int)
    case value
    case argumentEnd
    case broken(RESPError)
  }

  private enum Step {
    case moved
    case wanting
    case event(Event)
  }

  /// While true, whoever is there may only log in: the rest is refused with NOAUTH, and a command
  /// that is larger than a login costs the connection.
  package var requiresAuthentication = false
  /// Bytes of the present value that are not yet accounted for.
  package private(set) var valueRemaining = 0

  private let limits: RESPLimits
  private var buffer: [UInt8] = []
  /// Where the bytes that nobody has taken begin.
  private var start = 0
  /// How many bytes from there are known to have no line end.
  private var scannedBytes = 0
  private var stage = Stage.commandStart
  private var assembly = RESPAssembly.none

  /// Memory that is kept between commands, in bytes; more is given back once it is empty.
  private static let keptBytesMax = 64 << 10
  private static let lineEndBytes = 2

  /// Creates a decoder at the beginning of a stream.
  package init(limits: RESPLimits = RESPLimits()) { self.limits = limits }

  /// Bytes that were appended and taken by nobody yet, those of a value included.
  package var bufferedBytes: Int { buffer.count - start }

  /// Memory that unfinished input takes, in bytes: the buffer, and the arguments that were taken.
  package var heldBytes: Int { bufferedBytes + assembly.keptBytes }

  /// Bytes of the present value that lie in the buffer.
  package var bufferedValueBytes: Int { min(bufferedBytes, valueRemaining) }

  /// How many more bytes are wanted at least; 0 while a value is pending.
  package var wantedControlBytes: Int {
    guard valueRemaining == 0 else { return 0 }
    let whole =
      switch stage {
      case .argument(let kept, let dropped): kept + dropped + Self.lineEndBytes
      case .dropping(let count): count + Self.lineEndBytes
      case .argumentEnd, .value: Self.lineEndBytes
      case .commandStart, .argumentLength, .broken: 1
      }
    return max(1, whole - bufferedBytes)
  }

  /// Adds bytes that arrived.
  package mutating func append(_ bytes: Span<UInt8>) {
    compact()
    buffer.append(copying: bytes)
  }

  /// Takes the next event; nil if bytes are wanted or a value is pending.
  ///
  /// - Throws: a protocol error; after it nothing more can be found in this stream.
  package mutating func nextEvent() throws(RESPError) -> Event? {
    guard valueRemaining == 0 else { return nil }
    do {
      while true {
        switch try step() {
        case .moved: continue
        case .wanting: return nil
        case .event(let event): return event
        }
      }
    } catch {
      stage = .broken(error)
      throw error
    }
  }

  // MARK: Values

  /// Moves value bytes that lie in the buffer to `span`; returns how many, at most its length.
  package mutating func takeBufferedValue(into span: inout MutableSpan<UInt8>) -> Int {
    let count = min(bufferedValueBytes, span.count)
    buffer.copy(start..<start + count, to: &span)
    account(buffered: count)
    return count
  }

  /// Drops value bytes that lie in the buffer; returns how many.
  package mutating func skipBufferedValue() -> Int {
    let count = bufferedValueBytes
    account(buffered: count)
    return count
  }

  /// Accounts for value bytes that did not pass through the buffer; the buffer's part comes first.
  package mutating func valueArrived(_ count: Int) {
    precondition(bufferedValueBytes == 0 || count == 0, "buffered bytes come first")
    precondition(count >= 0 && count <= valueRemaining, "more than the value has")
    valueRemaining -= count
  }

  private mutating func account(buffered count: Int) {
    start += count
    valueRemaining -= count
  }

  // MARK: Steps

  private mutating func step() throws(RESPError) -> Step {
    switch stage {
    case .commandStart: return try beginCommand()
    case .argumentLength: return try takeArgumentLength()
    case .argument(let kept, let dropped): return try takeArgument(kept, dropped)
    case .dropping(let count): return drop(count)
    case .value:
      stage = .argumentEnd
      return .moved
    case .argumentEnd: return try takeArgumentEnd()
    case .broken(let error): throw error
    }
  }

  private mutating func beginCommand() throws(RESPError) -> Step {
    guard bufferedBytes > 0 else { return .wanting }
    guard buffer[start] == RESPByte.array else { return try takeInlineCommand() }
    guard let line = try takeLine("too big mbulk count string") else { return .wanting }
    guard let count = number(in: line), count <= Int64(limits.argumentsMax) else {
      throw .broken("invalid multibulk length")
    }
    guard !requiresAuthentication || count <= Int64(limits.strangerArgumentsMax) else {
      throw .broken("unauthenticated multibulk length")
    }
    // Redis takes an empty command for none.
    guard count > 0 else { return .moved }
    begin(count: Int(count), isInline: false)
    return .moved
  }

  private mutating func begin(count: Int, isInline: Bool) {
    assembly = RESPAssembly(count: count, isInline: isInline)
    stage = .argumentLength
  }

  /// Writes a line of words as counted arguments in front of what follows, so that values and
  /// limits have one way.
  private mutating func takeInlineCommand() throws(RESPError) -> Step {
    guard let line = try takeLine("too big inline request") else { return .wanting }
    guard let words = RESPInlineLine.words(of: buffer[line]) else {
      throw .broken("unbalanced quotes in request")
    }
    guard !words.isEmpty else { return .moved }
    var writer = ByteWriter(capacity: line.count + words.count * 8)
    let encoder = RESPEncoder()
    for word in words { encoder.bulk(word, to: &writer) }
    buffer.replaceSubrange(0..<start, with: writer.bytes)
    start = 0
    begin(count: words.count, isInline: true)
    return .moved
  }

  private mutating func takeArgumentLength() throws(RESPError) -> Step {
    guard bufferedBytes > 0 else { return .wanting }
    guard buffer[start] == RESPByte.bulk else {
      let found = String(decoding: [buffer[start]], as: UTF8.self)
      throw .broken("expected '$', got '\(found)'")
    }
    guard let line = try takeLine("too big bulk count string") else { return .wanting }
    guard let found = number(in: line), (0...Int64(limits.valueBytesMax)).contains(found) else {
      throw .broken("invalid bulk length")
    }
    let length = Int(found)
    let isTrusted = !requiresAuthentication || assembly.isInline
    guard isTrusted || length <= limits.strangerArgumentBytesMax else {
      throw .broken("unauthenticated bulk length")
    }
    switch assembly.plan(length, limits) {
    case .keep(let kept):
      stage = .argument(kept: kept, dropped: length - kept)
      return .moved
    case .value(let key):
      stage = .value
      valueRemaining = length
      return .event(.valueBegins(key: key, bytes: length))
    }
  }

  private mutating func takeArgument(_ kept: Int, _ dropped: Int) throws(RESPError) -> Step {
    guard bufferedBytes >= kept else { return .wanting }
    try assembly.accept(buffer[start..<start + kept], fromStranger: requiresAuthentication)
    start += kept
    stage = dropped > 0 ? .dropping(dropped) : .argumentEnd
    return .moved
  }

  private mutating func drop(_ count: Int) -> Step {
    let here = min(count, bufferedBytes)
    start += here
    stage = here == count ? .argumentEnd : .dropping(count - here)
    return here == count ? .moved : .wanting
  }

  /// Redis skips two bytes whatever they are; here they must be a line end, since otherwise it is
  /// not certain that the value before them is what the client meant.
  private mutating func takeArgumentEnd() throws(RESPError) -> Step {
    guard bufferedBytes >= Self.lineEndBytes else { return .wanting }
    guard buffer[start] == RESPByte.carriageReturn, buffer[start + 1] == RESPByte.lineFeed else {
      throw .broken("expected a line end behind a bulk string")
    }
    start += Self.lineEndBytes
    guard let event = assembly.advance() else {
      stage = .argumentLength
      return .moved
    }
    stage = .commandStart
    assembly = .none
    return .event(event)
  }

  // MARK: Lines

  /// Takes all up to the next line feed, which is not part of the line; nil if it is not there yet.
  private mutating func takeLine(_ tooLong: String) throws(RESPError) -> Range<Int>? {
    let end = min(buffer.count, start + limits.lineBytesMax + 1)
    let unseen = min(end, start + scannedBytes)
    guard let lineFeed = buffer[unseen..<end].firstIndex(of: RESPByte.lineFeed) else {
      guard end - start <= limits.lineBytesMax else { throw .broken(tooLong) }
      scannedBytes = end - start
      return nil
    }
    scannedBytes = 0
    defer { start = lineFeed + 1 }
    return start..<lineFeed
  }

  /// The number between a line's first byte and its carriage return.
  private func number(in line: Range<Int>) -> Int64? {
    guard line.count >= 2, buffer[line.upperBound - 1] == RESPByte.carriageReturn else {
      return nil
    }
    return Int64(respDigits: buffer[line.lowerBound + 1..<line.upperBound - 1])
  }

  /// Moves what nobody has taken to the front, so that the buffer does not grow with the stream.
  private mutating func compact() {
    guard start > 0 else { return }
    if start == buffer.count {
      buffer.removeAll(keepingCapacity: buffer.capacity <= Self.keptBytesMax)
    } else {
      buffer.removeSubrange(0..<start)
    }
    start = 0
  }
}
