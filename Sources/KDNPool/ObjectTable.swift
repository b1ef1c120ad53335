internal import KDNCore

/// Where a chunk's objects are looked for: a keyed hash of tenant and chunk hash.
///
/// Clients choose chunk hashes, so the hash is keyed per process (`Hasher`): no client can make
/// all its chunks fall together.
struct ChunkPlace: Hashable, Sendable {
  /// The tenant's number.
  let namespace: UInt32
  /// The chunk, or the opaque object.
  let hash: ChunkHash
  /// Chooses the place in a table; never 0.
  let tag: UInt32
  /// Chooses the stripe.
  let stripeBits: UInt32

  init(_ hash: ChunkHash, in namespace: UInt32) {
    self.namespace = namespace
    self.hash = hash
    var hasher = Hasher()
    hasher.combine(namespace)
    hasher.combine(hash)
    let digest = UInt64(bitPattern: Int64(hasher.finalize()))
    tag = max(1, UInt32(truncatingIfNeeded: digest))
    stripeBits = UInt32(truncatingIfNeeded: digest >> 32)
  }

  static func == (left: ChunkPlace, right: ChunkPlace) -> Bool {
    left.namespace == right.namespace && left.hash == right.hash
  }

  func hash(into hasher: inout Hasher) { hasher.combine(tag) }
}

/// Objects by place: open addressing, linear probing, all objects of a chunk in one run.
struct ObjectTable: Sendable {
  private static let capacityAtStart = 16

  /// Tag of the object in each cell; 0 where there is none.
  private var tags = [UInt32](repeating: 0, count: capacityAtStart)
  private var objects = [StoredObject?](repeating: nil, count: capacityAtStart)
  /// How many objects are in the table.
  private(set) var count = 0

  private var mask: Int { tags.count - 1 }

  /// The object of exactly this key.
  func find(_ key: ObjectKey, at place: ChunkPlace) -> StoredObject? {
    var cell = Int(place.tag) & mask
    while tags[cell] != 0 {
      if tags[cell] == place.tag, let object = objects[cell],
        object.key == key, object.namespace.number == place.namespace
      {
        return object
      }
      cell = (cell + 1) & mask
    }
    return nil
  }

  /// The object of this chunk in this layout, part and variant.
  func find(
    _ place: ChunkPlace, layout: LayoutID, part: Part, variant: UInt32
  ) -> StoredObject? {
    find(ObjectKey(hash: place.hash, layout: layout, part: part, variant: variant), at: place)
  }

  /// All objects of the chunk.
  func all(at place: ChunkPlace) -> [StoredObject] {
    var found: [StoredObject] = []
    var cell = Int(place.tag) & mask
    while tags[cell] != 0 {
      if tags[cell] == place.tag, let object = objects[cell],
        object.key.hash == place.hash, object.namespace.number == place.namespace
      {
        found.append(object)
      }
      cell = (cell + 1) & mask
    }
    return found
  }

  /// Puts in an object whose key must not be in the table.
  mutating func insert(_ object: StoredObject, at place: ChunkPlace) {
    if (count + 1) * 8 > tags.count * 5 { grow() }
    put(object, tag: place.tag)
    count += 1
  }

  /// Takes out an object, which must be in the table.
  mutating func remove(_ object: StoredObject, at place: ChunkPlace) {
    var cell = Int(place.tag) & mask
    while objects[cell] !== object {
      precondition(tags[cell] != 0, "an object removed from the index was not in it")
      cell = (cell + 1) & mask
    }
    close(cell)
    count -= 1
  }

  /// Empties a cell and moves those behind it forward, so that no run is broken.
  private mutating func close(_ cell: Int) {
    var hole = cell
    var next = (cell + 1) & mask
    while tags[next] != 0 {
      let home = Int(tags[next]) & mask
      if (next - home) & mask >= (next - hole) & mask {
        tags[hole] = tags[next]
        objects[hole] = objects[next]
        hole = next
      }
      next = (next + 1) & mask
    }
    tags[hole] = 0
    objects[hole] = nil
  }

  private mutating func put(_ object: StoredObject, tag: UInt32) {
    var cell = Int(tag) & mask
    while tags[cell] != 0 { cell = (cell + 1) & mask }
    tags[cell] = tag
    objects[cell] = object
  }

  private mutating func grow() {
    let oldTags = tags
    let oldObjects = objects
    tags = [UInt32](repeating: 0, count: oldTags.count * 2)
    objects = [StoredObject?](repeating: nil, count: oldTags.count * 2)
    for (tag, object) in zip(oldTags, oldObjects) {
      if let object { put(object, tag: tag) }
    }
  }
}
