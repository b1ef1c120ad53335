/// What a client of the RESP facade may ask for; Redis's own limits where it has one.
package struct RESPLimits: Equatable, Sendable {
  /// Longest line, in bytes: an inline command, or a count in front of arguments.
  package var lineBytesMax = 64 << 10
  /// Most arguments of one command; a count above it costs the connection.
  package var argumentsMax = 1 << 20
  /// Longest argument, and so longest value, in bytes; one above it costs the connection.
  package var valueBytesMax = 512 << 20
  /// Longest key or other argument that is kept, in bytes; a command with a longer one is refused.
  package var keyBytesMax = 64 << 10
  /// Most memory for the arguments of one command; a command that needs more is refused.
  ///
  /// Each argument counts as its bytes and `argumentOverheadBytes`.
  package var commandBytesMax = 1 << 20
  /// Most arguments of a command before the client has logged in.
  package var strangerArgumentsMax = 10
  /// Longest argument before the client has logged in, in bytes.
  package var strangerArgumentBytesMax = 16 << 10

  /// What an argument counts for besides its own bytes.
  package static let argumentOverheadBytes = 32
  /// Bytes of a command that nobody knows, and of its arguments, that the error repeats.
  package static let quotedBytesMax = 128
  /// Longest name of a client, its library or that library's version, in bytes.
  package static let clientNameBytesMax = 256

  /// Creates the default limits.
  package init() {}
}
