package import KDNCore

/// What an object is, as far as a codec has to know.
package struct EncodingFacts: Hashable, Sendable {
  /// The layout, nil for an opaque object.
  package let layout: Layout?
  /// The slice of layers and heads; `.none` for an opaque object.
  package let part: Part
  /// Position of the first token.
  package let firstToken: UInt64
  /// How many tokens; 0 for an opaque object.
  package let tokenCount: Int

  /// An object of which only the length is known.
  package static let opaque = EncodingFacts()

  /// The facts of a layout object; encoders check that they fit together.
  package init(layout: Layout, part: Part, firstToken: UInt64, tokenCount: Int) {
    self.layout = layout
    self.part = part
    self.firstToken = firstToken
    self.tokenCount = tokenCount
  }

  private init() {
    layout = nil
    part = .none
    firstToken = 0
    tokenCount = 0
  }
}
