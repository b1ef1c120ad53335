/// What to drop; exactly one of hashes, layouts and all.
package struct PurgeOrder: Codable, Sendable, Equatable {
  /// The tenant.
  package var namespace: String
  /// Drops every object of these chunks or opaque names, in hexadecimal.
  package var hashes: [String]?
  /// Drops also all that builds on the hashes.
  package var withDescendants: Bool?
  /// Drops all objects of these layouts, in hexadecimal.
  package var layouts: [String]?
  /// Drops everything of the namespace.
  package var all: Bool?

  /// Puts the values together.
  package init(
    namespace: String, hashes: [String]? = nil, withDescendants: Bool? = nil,
    layouts: [String]? =
      nil, all: Bool? = nil
  ) {
    self.namespace = namespace
    self.hashes = hashes
    self.withDescendants = withDescendants
    self.layouts = layouts
    self.all = all
  }
}

/// What was dropped.
package struct PurgeReport: Codable, Sendable, Equatable {
  /// Objects that could still be had, each counted once.
  package var objects: Int
  /// Their bytes.
  package var bytes: Int

  /// Puts the values together.
  package init(objects: Int, bytes: Int) {
    self.objects = objects
    self.bytes = bytes
  }
}

/// What to pin or unpin.
package struct PinOrder: Codable, Sendable, Equatable {
  /// The tenant.
  package var namespace: String
  /// Chunks or opaque names, in hexadecimal; every layout, part and variant of them.
  package var hashes: [String]
  /// How long; nil or 0 unpins.
  package var ttlMilliseconds: UInt64?

  /// Puts the values together.
  package init(namespace: String, hashes: [String], ttlMilliseconds: UInt64? = nil) {
    self.namespace = namespace
    self.hashes = hashes
    self.ttlMilliseconds = ttlMilliseconds
  }
}

/// What was pinned or unpinned.
package struct PinReport: Codable, Sendable, Equatable {
  /// Objects that were pinned, or had a pin.
  package var objects: Int

  /// Puts the values together.
  package init(objects: Int) {
    self.objects = objects
  }
}

/// What a reload did.
package struct ReloadReport: Codable, Sendable, Equatable {
  /// Keys whose values changed and hold now.
  package var changed: [String]

  /// Puts the values together.
  package init(changed: [String]) {
    self.changed = changed
  }
}
