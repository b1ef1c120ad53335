/// What objects to list.
package struct ObjectQuery: Sendable, Equatable {
  /// Most objects of one page.
  package static let limitMax = 1000

  /// The tenant.
  package var namespace: String
  /// `next` of the page before; nil for the first.
  package var cursor: String?
  /// 1 to `limitMax`.
  package var limit: Int

  /// Puts the values together.
  package init(namespace: String, cursor: String? = nil, limit: Int) {
    self.namespace = namespace
    self.cursor = cursor
    self.limit = limit
  }
}

/// Objects of one tenant; those that come and go between two pages may be missed or seen twice.
package struct ObjectPage: Codable, Sendable {
  /// One object.
  package struct Item: Codable, Sendable, Equatable {
    /// Chunk hash or opaque name, in hexadecimal.
    package var hash: String
    /// `layout` or `opaque`.
    package var kind: String
    /// Layout id in hexadecimal; empty for an opaque object.
    package var layout: String
    /// First and last layer and head of the part, as `layers 0-31, heads 0-7`; empty for an opaque
    /// object.
    package var part: String
    /// Another form of the same KV; 0 is what was stored.
    package var variant: UInt32
    /// Length.
    package var bytes: Int
    /// How many tokens; 0 for an opaque object.
    package var tokens: Int
    /// Position of the first token in its chain.
    package var firstToken: Int
    /// How often it was used.
    package var uses: UInt64
    /// `ram`, `disk` or both.
    package var tiers: [String]
    /// Whether it is pinned in a tier.
    package var isPinned: Bool
    /// Milliseconds of its TTL that are left; nil without one.
    package var ttlMilliseconds: UInt64?

    /// Puts the values together.
    package init(
      hash: String, kind: String, layout: String, part: String, variant: UInt32, bytes: Int,
      tokens: Int, firstToken: Int, uses: UInt64, tiers: [String], isPinned: Bool,
      ttlMilliseconds: UInt64? = nil
    ) {
      self.hash = hash
      self.kind = kind
      self.layout = layout
      self.part = part
      self.variant = variant
      self.bytes = bytes
      self.tokens = tokens
      self.firstToken = firstToken
      self.uses = uses
      self.tiers = tiers
      self.isPinned = isPinned
      self.ttlMilliseconds = ttlMilliseconds
    }
  }

  /// The objects.
  package var objects: [Item]
  /// Names the next page; nil after the last.
  package var next: String?

  /// Puts the values together.
  package init(objects: [Item], next: String? = nil) {
    self.objects = objects
    self.next = next
  }
}
